/**
 * The whole path of an image with fake workers: what a request looks like, and what its two stages
 * do when a test says so.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Permit, Permits } from '#vitserve/server/admission/permits.js';
import { Throughput } from '#vitserve/server/admission/throughput.js';
import { type ModelInfo, ServedModel } from '#vitserve/server/models/served-model.js';
import { type ImageRequest, Pipeline } from '#vitserve/server/pipeline/pipeline.js';
import { type BatchCost, CostTable } from '#vitserve/server/scheduling/cost-table.js';
import { Stage } from '#vitserve/server/scheduling/stage.js';
import type { ServerEvent } from '#vitserve/server/telemetry/events.js';
import { newImageRecord, queueMsOf } from '#vitserve/server/telemetry/record.js';
import type { DecodedImage, DecodeRequest } from '#vitserve/workers/decode/messages.js';
import type { InferenceOutput, InferenceRequest } from '#vitserve/workers/inference/messages.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeWorker, type Outcome, watch } from '../../../support/fake-worker.js';

export const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
export const MAX_IMAGE_BYTES = 64;

export const DECODED: DecodedImage = {
  decodeMs: 5,
  width: 40,
  height: 30,
  format: 'jpeg',
  decoder: 'turbojpeg',
};

export const EXECUTED: InferenceOutput = {
  predictions: [{ classIndex: 3, score: 0.75 }],
  embedding: new Float32Array(),
  executionMs: 7,
  batchSize: 1,
};

const LAYOUT = { pixelBytes: 12 };

const MODEL: ModelInfo = {
  name: 'small',
  version: '1',
  executionProvider: 'cpu',
  fallbackReason: null,
  slowForm: null,
  labels: ['cat', 'dog', 'fox', 'owl'],
  inputHeight: 2,
  inputWidth: 2,
  embeddingSize: 2,
  maxBatchSize: 4,
};
export const PLAN = '{"of":"small"}';

/** What a test may ask for: a request, and the times of its record. */
export type Asking = Partial<ImageRequest> & {
  readonly arrivedAt?: number;
  readonly expiresAt?: number;
};

export interface Stand {
  readonly clock: FakeClock;
  readonly permits: Permits;
  readonly pipeline: Pipeline;
  readonly model: ServedModel;
  readonly decoder: FakeWorker<DecodeRequest, DecodedImage>;
  readonly inference: FakeWorker<InferenceRequest, InferenceOutput>;
  /** What was reported, one line each. */
  readonly events: string[];
  /** A child's view of the slots. */
  readonly slots: SlotView;
  /**
   * Asks for one image with a permit of its own, which is given back when the image has settled;
   * `releases` counts that.
   */
  ask(request?: Asking): {
    readonly permit: Permit;
    readonly request: ImageRequest;
    readonly releases: { count: number };
    readonly outcome: { readonly state: Outcome<InferenceOutput> };
  };
  close(): void;
}

export function createStand({
  permits: limit = 8,
  maxBatchSize = 4,
  warmUpCosts = [] as readonly BatchCost[],
} = {}): Stand {
  const clock = new FakeClock(1_000);
  const permits = new Permits(limit, clock);
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  const slots = SlotFile.create(folder, LAYOUT, limit);
  const decoder: Stand['decoder'] = new FakeWorker();
  const inference: Stand['inference'] = new FakeWorker();
  const events: string[] = [];
  const report = (event: ServerEvent) => void events.push(...linesOf(event));
  const common = { clock, report };
  const decoding = new Stage({
    ...common,
    name: 'decode',
    workers: [decoder],
    maxBatchSize: 1,
    maxInFlight: 1,
  });
  const pipeline = new Pipeline({
    ...common,
    slots,
    decoding,
    maxImageBytes: MAX_IMAGE_BYTES,
    throughput: new Throughput(clock, () => Number.POSITIVE_INFINITY),
  });
  const costs = new CostTable();
  for (const { batchSize, milliseconds } of warmUpCosts) costs.record(batchSize, milliseconds);
  const stage = new Stage({
    ...common,
    name: 'batch',
    workers: [inference],
    maxBatchSize,
    costs,
    onExecuted: ({ batchSize, executionMs }) =>
      report({ kind: 'batch-executed', model: MODEL.name, batchSize, executionMs }),
  });
  const model = new ServedModel({ ...MODEL, maxBatchSize }, PLAN, stage);

  return {
    clock,
    permits,
    pipeline,
    model,
    decoder,
    inference,
    events,
    slots: new SlotView(slots.fd, LAYOUT),
    ask({ arrivedAt = clock.now(), expiresAt = Number.POSITIVE_INFINITY, ...more } = {}) {
      const permit = permits.tryTake();
      assert.ok(permit);
      const releases = { count: 0 };
      const request: ImageRequest = {
        model,
        image: JPEG,
        slot: permit.slot,
        topK: 5,
        wantsEmbedding: false,
        ofStream: false,
        signal: new AbortController().signal,
        record: newImageRecord(arrivedAt, expiresAt),
        ...more,
      };
      const work = pipeline.classify(request).finally(() => {
        releases.count++;
        permit.release();
      });
      return { permit, request, releases, outcome: watch(work) };
    },
    close() {
      slots.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function linesOf(event: ServerEvent): string[] {
  switch (event.kind) {
    case 'image-decoded': {
      const { decoded } = event.image;
      return [`decoded ${decoded?.format} ${decoded?.decoder} ${decoded?.decodeMs}`];
    }
    case 'image-executed': {
      const { executed, admittedAt, expiresAt } = event.image;
      const slackMs = expiresAt - (executed?.at ?? 0);
      return [`answered ${queueMsOf(event.image, admittedAt)} ${slackMs}`];
    }
    case 'image-dropped':
      return [`dropped ${event.stage} ${event.cause}`];
    case 'image-retried':
      return [`retried ${event.stage}`];
    case 'image-quarantined':
      return [`quarantined ${event.stage} ${event.bytes}`];
    case 'batch-executed':
      return [`executed ${event.model} ${event.batchSize} ${event.executionMs}`];
    default:
      return [event.kind];
  }
}
