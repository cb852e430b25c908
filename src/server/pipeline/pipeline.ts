/**
 * The way of one image, on one page: reject early → decode → infer.
 *
 * What holds: every request settles exactly once, and when it has settled no process writes into
 * its slot. Cancelled and expired images cost no work that had not begun when the front knew of it.
 * An image predicted to miss its deadline is rejected before decoding, and so is one that is known
 * to end processes.
 */
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';
import type { DecodedImage, DecodeRequest } from '../../workers/decode/messages.js';
import { requireDecodable } from '../../workers/decode/sniff.js';
import type { InferenceOutput, InferenceRequest } from '../../workers/inference/messages.js';
import type { SlotFile } from '../../workers/slots.js';
import type { Throughput } from '../admission/throughput.js';
import type { ServedModel } from '../models/served-model.js';
import { refusalOf } from '../scheduling/deadline-check.js';
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
  /** Filled in as the image goes. Its times decide in which order images go. */
  readonly record: ImageRecord;
}

export interface PipelineOptions {
  readonly slots: SlotFile;
  readonly decoding: Stage<DecodeRequest, DecodedImage>;
  readonly maxImageBytes: number;
  /** Told of every image. */
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
   * Scores, and the embedding where it is asked for. Rejects with a RequestError, or with what went
   * wrong inside, which is the server's fault.
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

  /** Rejects what needs no decoding to be rejected. */
  #rejectEarly({ image, model, record }: ImageRequest, schedulingDeadline: number): void {
    const { maxImageBytes, decoding } = this.#options;
    if (image.byteLength > maxImageBytes) {
      throw new RequestError(
        'IMAGE_TOO_LARGE',
        `the image has ${image.byteLength} bytes; the limit is ${maxImageBytes}: send a smaller file`,
      );
    }
    requireDecodable(image);
    decoding.check(image);
    model.inference.check(image);
    this.#rejectLate([model], schedulingDeadline, record.expiresAt);
  }

  /**
   * For a unary call whose image has not come yet: throws DEADLINE_UNREACHABLE where none of the
   * models could answer it in time though it were here. So under overload most rejections cost no
   * upload.
   */
  checkDeadline(models: readonly ServedModel[], expiresAt: number): void {
    if (expiresAt === Number.POSITIVE_INFINITY) return;
    const record = { admittedAt: this.#options.clock.now(), expiresAt };
    this.#rejectLate(models, schedulingDeadlineOf({ record, ofStream: false }), expiresAt);
  }

  #rejectLate(models: readonly ServedModel[], schedulingDeadline: number, expiresAt: number): void {
    const { decoding, clock } = this.#options;
    const leftMs = expiresAt - clock.now();
    const decodedMs = leftMs === Infinity ? null : decoding.estimateMs(schedulingDeadline);
    if (decodedMs === null) return;
    const ahead = decoding.countBefore(schedulingDeadline);
    let refusal: RequestError | null = null;
    for (const model of models) {
      const finishMs = model.estimateMs(schedulingDeadline, decodedMs, ahead);
      refusal = finishMs === null ? null : refusalOf(finishMs, leftMs);
      if (refusal === null) return;
    }
    if (refusal === null) return;
    decoding.drop(refusal);
    throw refusal;
  }
}
