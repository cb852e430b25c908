/**
 * Calls, pipeline and dispatchers together in simulated time: uploads arrive, calls are cancelled
 * and expire, processes are lost and come back, and the server stops amid it. However that falls,
 * each call ends once, and no slot is given to an image while a process may still write into it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { RequestError } from '#vitserve/errors.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import { RejectionThrottle } from '#vitserve/server/admission/rejection-throttle.js';
import { Throughput } from '#vitserve/server/admission/throughput.js';
import { type ModelInfo, ServedModel } from '#vitserve/server/models/served-model.js';
import { Pipeline } from '#vitserve/server/pipeline/pipeline.js';
import { Call, OpenCalls } from '#vitserve/server/rpc/call.js';
import { Stage } from '#vitserve/server/scheduling/stage.js';
import type { ServerEvent } from '#vitserve/server/telemetry/events.js';
import type { DecodedImage, DecodeRequest } from '#vitserve/workers/decode/messages.js';
import type { InferenceOutput, InferenceRequest } from '#vitserve/workers/inference/messages.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import { ProcessLostError, type Worker, type WorkResult } from '#vitserve/workers/worker.js';
import { FakeInner, MAX_IMAGE_BYTES } from '../../support/fake-inner.js';
import { chance, SimulatedClock } from './scheduling/simulation.js';

const SCHEDULES = 150;
const PERMITS = 6;
const UPLOAD_TIMEOUT_MS = 60;
const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
const LAYOUT = { pixelBytes: 12 };
const PATH = { path: '/vitserve.v1.ClassificationService/Classify', requestStream: false };
const INFO = { name: 'small', version: '1', executionProvider: 'cpu' } as ModelInfo;

/** Works on each batch for a while, skips slots that are not wanted, and may be lost amid it. */
class BusyWorker<Input extends { readonly slot: number }, Output> implements Worker<Input, Output> {
  readonly #clock: SimulatedClock;
  readonly #view: SlotView;
  readonly #serviceMs: () => number;
  readonly #output: () => Output;
  readonly #given: {
    batch: readonly Input[];
    resolve: (results: readonly WorkResult<Output>[]) => void;
    reject: (error: unknown) => void;
  }[] = [];
  #changed = () => {};
  #cancelEnd = () => {};
  ready = true;

  constructor(
    clock: SimulatedClock,
    view: SlotView,
    serviceMs: () => number,
    output: () => Output,
  ) {
    this.#clock = clock;
    this.#view = view;
    this.#serviceMs = serviceMs;
    this.#output = output;
  }

  get inFlight(): number {
    return this.#given.length;
  }

  /** Slots that it may write into. */
  get slots(): number[] {
    return this.#given.flatMap(({ batch }) => batch.map(({ slot }) => slot));
  }

  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  run(batch: readonly Input[]): Promise<readonly WorkResult<Output>[]> {
    return new Promise((resolve, reject) => {
      this.#given.push({ batch, resolve, reject });
      if (this.#given.length === 1) this.#begin();
    });
  }

  lose(downMs: number): void {
    if (!this.ready) return;
    this.ready = false;
    this.#cancelEnd();
    for (const { reject } of this.#given.splice(0)) reject(new ProcessLostError('lost'));
    this.#changed();
    this.#clock.after(downMs, () => {
      this.ready = true;
      this.#changed();
    });
  }

  #begin(): void {
    const [current] = this.#given;
    if (current === undefined) return;
    const now = this.#clock.now();
    const results = current.batch.map(
      ({ slot }): WorkResult<Output> =>
        this.#view.isWanted(slot, now)
          ? { kind: 'done', output: this.#output() }
          : { kind: 'skipped' },
    );
    this.#cancelEnd = this.#clock.after(this.#serviceMs(), () => {
      this.#given.shift();
      this.#begin();
      current.resolve(results);
      this.#changed();
    });
  }
}

let slots: SlotFile;
let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  slots = SlotFile.create(folder, LAYOUT, PERMITS);
});
after(() => {
  slots.close();
  rmSync(folder, { recursive: true });
});

/** Plays one schedule; how its calls ended, by code and reason. */
async function play(seed: number): Promise<string[]> {
  const random = chance(seed);
  const upTo = (ms: number) => random() * ms;
  const clock = new SimulatedClock();
  const view = new SlotView(slots.fd, LAYOUT);
  const permits = new Permits(PERMITS, clock);
  const admission = new Admission({ permits, clock, uploadTimeoutMs: UPLOAD_TIMEOUT_MS });
  admission.gate = 'OPEN';
  const endings = new Map<object, string[]>();
  const report = (event: ServerEvent) => {
    if (event.kind !== 'call-ended') return;
    const { call, code, reason } = event;
    endings.set(call, [...(endings.get(call) ?? []), `${code} ${reason ?? ''}`.trim()]);
  };
  const decoders = [1, 2].map(
    () =>
      new BusyWorker<DecodeRequest, DecodedImage>(
        clock,
        view,
        () => 1 + upTo(8),
        () => ({ decodeMs: 1, width: 2, height: 2, format: 'jpeg', decoder: 'sharp' }),
      ),
  );
  const inference = new BusyWorker<InferenceRequest, InferenceOutput>(
    clock,
    view,
    () => 4 + upTo(8),
    () => ({ predictions: [], embedding: new Float32Array(), executionMs: 4, batchSize: 1 }),
  );
  const busySlots = () => [...decoders, inference].flatMap((worker) => worker.slots);
  const common = { clock, report };
  const pipeline = new Pipeline({
    ...common,
    slots,
    decoding: new Stage({
      ...common,
      name: 'decode',
      workers: decoders,
      maxBatchSize: 1,
      maxInFlight: 1,
    }),
    maxImageBytes: MAX_IMAGE_BYTES,
    throughput: new Throughput(clock, () => Number.POSITIVE_INFINITY),
  });
  const model = new ServedModel(
    INFO,
    '{}',
    new Stage({ ...common, name: 'batch', workers: [inference], maxBatchSize: 4 }),
  );
  const open = new OpenCalls();
  const context = {
    ...common,
    engine: {
      permits,
      admission,
      checkDeadline: (expiresAt: number) => pipeline.checkDeadline([model], expiresAt),
    },
    throttle: new RejectionThrottle({ clock, imagesPerSecond: () => 100, report }),
    maxImageBytes: MAX_IMAGE_BYTES,
    uploadTimeoutMs: UPLOAD_TIMEOUT_MS,
    warmUpToken: 'none',
    authenticate: () => {},
    open,
  };

  const beginCall = () => {
    const deadlineAt = random() < 0.5 ? clock.now() + upTo(120) : Number.POSITIVE_INFINITY;
    const inner = new FakeInner(deadlineAt - clock.now());
    const call = new Call(context, PATH, inner.asInner);
    if (deadlineAt < Number.POSITIVE_INFINITY)
      clock.after(deadlineAt - clock.now(), () =>
        inner.sendStatus({ code: grpcStatus.DEADLINE_EXCEEDED }),
      );
    if (random() < 0.3) clock.after(upTo(100), () => call.onCancel());
    if (!call.onHeaders(new Metadata())) return;
    clock.after(upTo(80), () => {
      if (!open.has(call)) return;
      call.onMessage({});
      call.onHalfClose(() =>
        call.answer(
          (error) => inner.sendStatus({ code: error?.code ?? grpcStatus.OK, ...metadataOf(error) }),
          (image) => {
            assert.ok(!busySlots().includes(image.slot), `slot ${image.slot} is being written`);
            const asked = { model, image: JPEG, topK: 5, wantsEmbedding: false };
            return pipeline.classify({ ...image, ...asked });
          },
        ),
      );
    });
  };
  for (let count = 0; count < 40; count++) clock.after(upTo(200), beginCall);
  for (let count = 0; count < 3; count++) {
    const worker = [...decoders, inference][Math.floor(upTo(3))];
    clock.after(upTo(250), () => worker?.lose(upTo(60)));
  }
  if (random() < 0.3)
    clock.after(150 + upTo(100), () => {
      admission.gate = 'DRAINING';
      for (const call of open) call.abort(new RequestError('DRAINING', 'the server is stopping'));
    });
  await clock.run(() => assert.ok(permits.inUse <= PERMITS));

  assert.equal(endings.size, 40);
  for (const ended of endings.values()) assert.equal(ended.length, 1, `ended as ${ended}`);
  assert.deepEqual([permits.inUse, admission.uploads, open.size], [0, 0, 0]);
  assert.deepEqual(busySlots(), []);
  return [...endings.values()].flat();
}

function metadataOf(error: unknown): { readonly metadata?: Metadata } {
  const { metadata } = (error ?? {}) as { readonly metadata?: Metadata };
  return metadata === undefined ? {} : { metadata };
}

test(`in ${SCHEDULES} schedules every call ends once and gives back what it held`, async (t) => {
  const counts = new Map<string, number>();
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    for (const ending of await play(seed)) counts.set(ending, (counts.get(ending) ?? 0) + 1);
  }
  t.diagnostic(JSON.stringify(Object.fromEntries([...counts].sort())));
  for (const ending of [
    'OK',
    'CANCELLED CANCELLED',
    'DEADLINE_EXCEEDED DEADLINE_EXCEEDED',
    'DEADLINE_EXCEEDED UPLOAD_TIMEOUT',
    'RESOURCE_EXHAUSTED DEADLINE_UNREACHABLE',
    'RESOURCE_EXHAUSTED OVERLOADED',
    'UNAVAILABLE DRAINING',
  ])
    assert.ok((counts.get(ending) ?? 0) > 0, `no call ended with ${ending}`);
});
