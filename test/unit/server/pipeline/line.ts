/**
 * The whole line with fake processes: what a request looks like, and what its two stages do when a
 * test says so.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Permit, Permits } from '#vitserve/server/admission/permits.js';
import { Throughput } from '#vitserve/server/admission/throughput.js';
import { ModelLine } from '#vitserve/server/models/model-line.js';
import type { ServedModel } from '#vitserve/server/models/served-model.js';
import { type Answer, type ImageRequest, Pipeline } from '#vitserve/server/pipeline/pipeline.js';
import type { BatchCost } from '#vitserve/server/scheduling/cost-table.js';
import type { DecodeRequest } from '#vitserve/workers/decode/decoder-pool.js';
import type { DecoderReply } from '#vitserve/workers/decode/messages.js';
import type { InferenceRequest, InferenceResult } from '#vitserve/workers/inference/messages.js';
import { SlotFile, SlotView } from '#vitserve/workers/slots.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeLane, type Outcome, watch } from '../../../support/fake-lane.js';

export const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
export const MAX_IMAGE_BYTES = 64;

export const DECODED = {
  kind: 'decoded',
  decodeMs: 5,
  width: 40,
  height: 30,
  format: 'jpeg',
  decoder: 'turbojpeg',
} as const satisfies DecoderReply;

export const EXECUTED = {
  kind: 'executed',
  predictions: [{ classIndex: 3, score: 0.75 }],
  embedding: [],
  executionMs: 7,
  batchSize: 1,
} as const satisfies InferenceResult;

const LAYOUT = { pixelBytes: 12 };

export const MODEL: ServedModel = {
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

export interface Line {
  readonly clock: FakeClock;
  readonly permits: Permits;
  readonly pipeline: Pipeline;
  readonly model: ModelLine;
  readonly decoder: FakeLane<DecodeRequest, DecoderReply>;
  readonly inference: FakeLane<readonly InferenceRequest[], readonly InferenceResult[]>;
  /** What the observer was told, one line each, without queue lengths. */
  readonly events: string[];
  /** A child's view of the slots. */
  readonly slots: SlotView;
  /**
   * Asks for one image with a permit of its own; `releases` counts how often that is given back.
   */
  ask(request?: Partial<ImageRequest>): {
    readonly permit: Permit;
    readonly releases: { count: number };
    readonly outcome: { readonly state: Outcome<Answer> };
  };
  close(): void;
}

export function createLine({
  permits: limit = 8,
  maxBatchSize = 4,
  warmUpCosts = [] as readonly BatchCost[],
} = {}): Line {
  const clock = new FakeClock(1_000);
  const permits = new Permits(limit, clock);
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  const file = SlotFile.create(folder, LAYOUT, limit);
  const decoder: Line['decoder'] = new FakeLane();
  const inference: Line['inference'] = new FakeLane();
  const events: string[] = [];
  const pipeline = new Pipeline({
    slots: file,
    decoders: [decoder],
    maxImageBytes: MAX_IMAGE_BYTES,
    throughput: new Throughput(clock, () => Number.POSITIVE_INFINITY),
    clock,
    observer: {
      decoded: (format, decoder, decodeMs) =>
        events.push(`decoded ${format} ${decoder} ${decodeMs}`),
      answered: (queueMs, slackMs) => events.push(`answered ${queueMs} ${slackMs}`),
      dropped: (stage, cause) => events.push(`dropped ${stage} ${cause}`),
      decodeRetried: () => events.push('retried decode'),
      decodeQueueLength: () => {},
      decodeQuarantined: (_sha256, bytes) => events.push(`quarantined decode ${bytes}`),
    },
  });
  const model = new ModelLine({
    model: { ...MODEL, maxBatchSize },
    plan: PLAN,
    lanes: [inference],
    fixedBatchSizes: null,
    warmUpCosts,
    clock,
    observer: {
      executed: (name, batchSize, executionMs) =>
        events.push(`executed ${name} ${batchSize} ${executionMs}`),
      batchRetried: (name) => events.push(`retried batch ${name}`),
      batchQueueLength: () => {},
      batchQuarantined: (_sha256, bytes) => events.push(`quarantined batch ${bytes}`),
    },
  });

  return {
    clock,
    permits,
    pipeline,
    model,
    decoder,
    inference,
    events,
    slots: new SlotView(file.fd, LAYOUT),
    ask(request = {}) {
      const permit = permits.tryTake();
      assert.ok(permit);
      const releases = { count: 0 };
      const counting: Permit = {
        slot: permit.slot,
        release() {
          releases.count++;
          permit.release();
        },
      };
      const { signal } = new AbortController();
      const whole: ImageRequest = {
        line: model,
        image: JPEG,
        topK: 5,
        wantsEmbedding: false,
        arrivedAt: clock.now(),
        expiresAt: Number.POSITIVE_INFINITY,
        ofStream: false,
        signal,
        ...request,
      };
      return { permit, releases, outcome: watch(pipeline.answer(whole, counting)) };
    },
    close() {
      file.close();
      rmSync(folder, { recursive: true });
    },
  };
}
