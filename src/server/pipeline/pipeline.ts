/**
 * The path of one image, on one page: reject early → decode → infer.
 *
 * What holds: every request settles exactly once, and then no process writes into its slot. Once
 * the front knows that an image is cancelled or expired, no further work begins on it. An image
 * predicted to miss its deadline is rejected before decoding, and so is a quarantined one.
 */
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';
import type { DecodedImage, DecodeRequest } from '../../workers/decode/messages.js';
import { requireDecodable } from '../../workers/decode/sniff.js';
import type { InferenceOutput, InferenceRequest } from '../../workers/inference/messages.js';
import type { SlotFile } from '../../workers/slots.js';
import type { Throughput } from '../admission/throughput.js';
import type { ServedModel } from '../models/served-model.js';
import { rejectionOf } from '../scheduling/deadline-check.js';
import { schedulingDeadlineOf } from '../scheduling/scheduling-deadline.js';
import type { Stage } from '../scheduling/stage.js';
import type { Report } from '../telemetry/events.js';
import type { ImageRecord } from '../telemetry/record.js';

export interface ImageRequest extends Omit<InferenceRequest, 'slot'> {
  readonly model: ServedModel;
  /** JPEG, PNG or WebP file. */
  readonly image: Uint8Array;
  /** The pixel slot of the image's permit. */
  readonly slot: number;
  /** An image of a stream gives way to unary calls. */
  readonly ofStream: boolean;
  /** Aborted when the call is cancelled or past its deadline; its reason is a RequestError. */
  readonly signal: AbortSignal;
  /** Filled in along the path. Its times decide the order of images. */
  readonly record: ImageRecord;
}

export interface PipelineOptions {
  readonly slots: SlotFile;
  readonly decoding: Stage<DecodeRequest, DecodedImage>;
  readonly maxImageBytes: number;
  /** Counts every image. */
  readonly throughput: Throughput;
  readonly clock: Clock;
  readonly report: Report;
}

export class Pipeline {
  readonly #options: PipelineOptions;

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  /**
   * Resolves to the scores, and the embedding where the request wants it. Rejects with a
   * RequestError; any other error is a fault of the server.
   */
  classify(request: ImageRequest): Promise<InferenceOutput> {
    return request.model.use(() => this.#classify(request));
  }

  async #classify(request: ImageRequest): Promise<InferenceOutput> {
    const { slots, decoding, throughput, clock, report } = this.#options;
    const { model, image, slot, signal, record, topK, wantsEmbedding } = request;
    const { expiresAt } = record;
    const terms = { image, signal, expiresAt, schedulingDeadline: schedulingDeadlineOf(request) };
    const cancel = () => slots.cancel(slot);
    record.model = model.info;
    throughput.began();
    try {
      this.#rejectEarly(request, terms.schedulingDeadline);
      slots.open(slot, expiresAt);
      signal.addEventListener('abort', cancel, { once: true });
      const decoded = await decoding.run({ slot, image, plan: model.plan }, terms);
      record.decoded = { ...decoded, at: clock.now() };
      report({ kind: 'image-decoded', image: record });
      const output = await model.inference.run({ slot, topK, wantsEmbedding }, terms);
      const { executionMs, batchSize } = output;
      record.executed = { at: clock.now(), executionMs, batchSize };
      report({ kind: 'image-executed', image: record });
      return output;
    } finally {
      signal.removeEventListener('abort', cancel);
      throughput.ended(record.executed !== null);
    }
  }

  /** Throws RequestError where that needs no decoding. */
  #rejectEarly({ image, model, record }: ImageRequest, schedulingDeadline: number): void {
    const { maxImageBytes, decoding } = this.#options;
    if (image.byteLength > maxImageBytes) {
      const limit = `the limit is ${maxImageBytes}: send a smaller file`;
      throw new RequestError(
        'IMAGE_TOO_LARGE',
        `the image has ${image.byteLength} bytes; ${limit}`,
      );
    }
    requireDecodable(image);
    decoding.check(image);
    model.inference.check(image);
    this.#rejectLate([model], schedulingDeadline, record.expiresAt, true);
  }

  /**
   * For a unary call whose image has not arrived: throws DEADLINE_UNREACHABLE where no model could
   * answer in time even if the image were here. So under overload most rejections cost no upload.
   */
  checkDeadline(models: readonly ServedModel[], expiresAt: number): void {
    if (expiresAt === Number.POSITIVE_INFINITY) return;
    const record = { admittedAt: this.#options.clock.now(), expiresAt };
    const schedulingDeadline = schedulingDeadlineOf({ record, ofStream: false });
    this.#rejectLate(models, schedulingDeadline, expiresAt, false);
  }

  #rejectLate(
    models: readonly ServedModel[],
    schedulingDeadline: number,
    expiresAt: number,
    inUse: boolean,
  ): void {
    const { decoding, clock } = this.#options;
    const leftMs = expiresAt - clock.now();
    const inMs = leftMs === Infinity ? null : decoding.estimateMs(schedulingDeadline);
    if (inMs === null) return;
    const terms = { inMs, decoding: decoding.countBefore(schedulingDeadline), inUse };
    let rejection: RequestError | null = null;
    for (const model of models) {
      const finishMs = model.estimateMs(schedulingDeadline, terms);
      rejection = finishMs === null ? null : rejectionOf(finishMs, leftMs);
      if (rejection === null) return;
    }
    if (rejection === null) return;
    decoding.drop(rejection);
    throw rejection;
  }
}
