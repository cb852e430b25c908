/**
 * One real decoder process, and the processor time that it spends on each file: as the system
 * counts it, so that other programs on the machine do not matter. In steps of 10 ms.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Recipe } from '#vitserve/models/recipe.js';
import { cpuMsOf } from '#vitserve/system/cpu-time.js';
import { DecoderPool } from '#vitserve/workers/decode/decoder-pool.js';
import type { DecodedImage } from '#vitserve/workers/decode/messages.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import { ProcessLostError, type WorkResult } from '#vitserve/workers/worker.js';
import { eventually, type Scope } from './scope.js';

const SIDE = 48;
const LAYOUT = { pixelBytes: SIDE * SIDE * 3 };
const RECIPE: Recipe = {
  resize: { mode: 'squash', height: SIDE, width: SIDE },
  interpolation: 'bilinear',
  crop: null,
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  normalizedInGraph: true,
};
const PLAN = JSON.stringify({ recipe: RECIPE, height: SIDE, width: SIDE });

export interface Measured {
  /** Null: the process was lost. */
  readonly reply: WorkResult<DecodedImage> | null;
  readonly cpuMs: number;
  /** The model's pixels, if it was decoded. */
  readonly pixels: Buffer;
}

export class DecoderCpu {
  readonly #pool: DecoderPool;
  readonly #slots: SlotFile;
  readonly #view: SlotView;
  /** How decoders were lost, for messages. */
  readonly losses: string[];

  private constructor(pool: DecoderPool, slots: SlotFile, losses: string[]) {
    this.#pool = pool;
    this.#slots = slots;
    this.#view = new SlotView(slots.fd, LAYOUT);
    this.losses = losses;
  }

  static async start(
    scope: Scope,
    { maxImagePixels = 50_000_000, limitMs = 10_000 } = {},
  ): Promise<DecoderCpu> {
    const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
    const slots = SlotFile.create(folder, LAYOUT, 1);
    const losses: string[] = [];
    const pool = await DecoderPool.create(
      slots,
      {
        decoderProcesses: 1,
        jpegDecoder: 'auto',
        maxImageBytes: 16 * 2 ** 20,
        maxImagePixels,
        sharedMemoryDir: folder,
        startTimeoutMs: 60_000,
      },
      (event) => {
        if (event.kind === 'child-lost') losses.push(`${event.cause}: ${event.detail}`);
      },
      limitMs,
    );
    scope.after(async () => {
      await pool.stop();
      slots.close();
      rmSync(folder, { recursive: true });
    });
    return new DecoderCpu(pool, slots, losses);
  }

  get pid(): number {
    return this.#pool.workers[0]?.pid ?? 0;
  }

  async decode(image: Buffer): Promise<Measured> {
    const [worker] = this.#pool.workers;
    assert.ok(worker);
    await eventually('the decoder is ready', () => worker.ready);
    this.#slots.open(0, Number.MAX_SAFE_INTEGER);
    const { pid } = this;
    const before = cpuMsOf(pid) ?? Number.NaN;
    const [reply = null] = await worker
      .run([{ slot: 0, image, plan: PLAN }])
      .catch((error: unknown) => {
        if (error instanceof ProcessLostError) return [];
        throw error;
      });
    // Its time can't be read once it is gone: its allowance is what it has spent, or more.
    const after = cpuMsOf(pid) ?? Number.POSITIVE_INFINITY;
    const pixels = Buffer.alloc(LAYOUT.pixelBytes);
    if (reply?.kind === 'done') this.#view.readPixels(0, pixels, 0, LAYOUT.pixelBytes);
    return { reply, cpuMs: after - before, pixels };
  }
}
