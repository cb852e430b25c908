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
import type { DecoderReply } from '#vitserve/workers/decode/messages.js';
import { ProcessLostError } from '#vitserve/workers/process/lane.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import { eventually, type Scope } from './server.js';

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
  readonly reply: DecoderReply | null;
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
    { maxImagePixels = 50_000_000, decodeTimeoutMs = 10_000 } = {},
  ): Promise<DecoderCpu> {
    const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
    const slots = SlotFile.create(folder, LAYOUT, 1);
    const losses: string[] = [];
    const pool = await DecoderPool.create(
      slots,
      {
        decoderProcesses: 1,
        jpegDecoder: 'auto',
        maxImagePixels,
        sharedMemoryDir: folder,
        startTimeoutMs: 60_000,
        decodeTimeoutMs,
      },
      {
        childReady: () => {},
        childKilled: () => {},
        childStopped: () => {},
        childLost: (_role, _index, _pid, cause, detail) => losses.push(`${cause}: ${detail}`),
        childLine: () => {},
      },
    );
    scope.after(async () => {
      await pool.stop();
      slots.close();
      rmSync(folder, { recursive: true });
    });
    return new DecoderCpu(pool, slots, losses);
  }

  get pid(): number {
    return this.#pool.lanes[0]?.pid ?? 0;
  }

  async decode(image: Buffer): Promise<Measured> {
    const [lane] = this.#pool.lanes;
    assert.ok(lane);
    await eventually('the decoder is ready', () => lane.ready);
    this.#slots.open(0, Number.MAX_SAFE_INTEGER);
    const { pid } = this;
    const before = cpuMsOf(pid) ?? Number.NaN;
    const reply = await lane
      .call({ kind: 'decode', slot: 0, image, plan: PLAN })
      .catch((error: unknown) => {
        if (error instanceof ProcessLostError) return null;
        throw error;
      });
    // Its time can't be read once it is gone: its allowance is what it has spent, or more.
    const after = cpuMsOf(pid) ?? Number.POSITIVE_INFINITY;
    const pixels = Buffer.alloc(LAYOUT.pixelBytes);
    if (reply?.kind === 'decoded') this.#view.readPixels(0, pixels, 0, LAYOUT.pixelBytes);
    return { reply, cpuMs: after - before, pixels };
  }
}
