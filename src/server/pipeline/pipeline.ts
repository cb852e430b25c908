/**
 * The straight line of an image, on one page: permit → decode → queue → batch → infer → answer.
 *
 * What holds: every request given to `answer` settles exactly once; its permit is given back
 * exactly then; nobody works on an image whose caller has left (abort signal) or whose deadline has
 * passed, as far as that was known when the work began. An image that by all that is known can't be
 * answered before its deadline is refused before it costs a decode, and so is one that is known to
 * end processes.
 */

import type { Clock } from '../../clock.js';
import { type Reason, RequestError } from '../../errors.js';
import { DECODER_CALLS, type DecodeRequest } from '../../workers/decode/decoder-pool.js';
import type { DecoderReply } from '../../workers/decode/messages.js';
import { requireDecodable } from '../../workers/decode/sniff.js';
import type {
  InferenceRequest,
  InferenceResult,
  Prediction,
} from '../../workers/inference/messages.js';
import { ProcessLostError } from '../../workers/process/lane.js';
import type { SlotFile } from '../../workers/slots.js';
import type { Permit } from '../admission/permits.js';
import { Quarantine } from '../admission/quarantine.js';
import type { Throughput } from '../admission/throughput.js';
import type { ModelLine } from '../models/model-line.js';
import { CostTable } from '../scheduling/cost-table.js';
import { refusalOf } from '../scheduling/deadline-check.js';
import { Dispatcher, type Terms } from '../scheduling/dispatcher.js';
import type { BatchLane } from '../scheduling/lane.js';
import { schedulingDeadlineOf } from '../scheduling/scheduling-deadline.js';
import type { ImageRecord } from './image-record.js';

export interface ImageRequest {
  /** The model that is asked. */
  readonly line: ModelLine;
  /** JPEG, PNG or WebP file. */
  readonly image: Uint8Array;
  /** Predictions to answer with; at most the class count. */
  readonly topK: number;
  readonly wantsEmbedding: boolean;
  /** Monotonic milliseconds (`Clock.now`) at which the call came in. */
  readonly arrivedAt: number;
  /** Monotonic milliseconds; Infinity where the caller set no deadline. */
  readonly expiresAt: number;
  /** An image of a stream gives way to unary calls. */
  readonly ofStream: boolean;
  /** Aborted when the caller has left or the deadline has passed; its reason is a RequestError. */
  readonly signal: AbortSignal;
  /** Filled in as the image goes, where anybody wants to know. */
  readonly record?: ImageRecord;
}

/**
 * Times are milliseconds; `queueMs` is all waiting: for a decoder, for a batch, and on the way
 * between processes.
 */
export interface Answer {
  readonly predictions: readonly Prediction[];
  readonly embedding: readonly number[];
  readonly decodeMs: number;
  readonly queueMs: number;
  readonly inferenceMs: number;
  readonly batchSize: number;
}

/** Why an image was not worked on. */
export type DropCause = 'cancelled' | 'expired' | 'unreachable';

/** Told what the line does; `telemetry/` implements it. Times are milliseconds. */
export interface PipelineObserver {
  /** `decoder`: what decoded it, `turbojpeg` or `sharp`. */
  decoded(format: string, decoder: string, decodeMs: number): void;
  answered(queueMs: number, deadlineSlackMs: number | null): void;
  dropped(stage: 'decode' | 'batch', cause: DropCause): void;
  decodeRetried(): void;
  decodeQueueLength(length: number): void;
  /** An image was found to end the decoders that work on it. */
  decodeQuarantined(sha256: string, bytes: number): void;
}

export interface PipelineOptions {
  readonly slots: SlotFile;
  readonly decoders: readonly BatchLane<DecodeRequest, DecoderReply>[];
  readonly maxImageBytes: number;
  /** Told of every image. */
  readonly throughput: Throughput;
  readonly clock: Clock;
  readonly observer: PipelineObserver;
}

type DecodeImage = Extract<DecodeRequest, { kind: 'decode' }>;

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #decoding: Dispatcher<DecodeImage, DecoderReply, DecodeRequest, DecoderReply>;
  readonly #quarantine: Quarantine;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#quarantine = new Quarantine(options.clock, (...about) =>
      options.observer.decodeQuarantined(...about),
    );
    this.#decoding = new Dispatcher({
      lanes: options.decoders,
      maxBatchSize: 1,
      maxInFlight: DECODER_CALLS,
      costs: new CostTable(),
      clock: options.clock,
      toCall: ([image]) => image as DecodeImage,
      toResults: (reply) => [reply],
      workedOn: (reply) => (reply.kind === 'decoded' ? 1 : 0),
      isLoss: (error) => error instanceof ProcessLostError,
      isSuspicion: (error) => error instanceof ProcessLostError && error.suspect,
      observer: {
        queueLength: (length) => options.observer.decodeQueueLength(length),
        retried: () => options.observer.decodeRetried(),
      },
    });
  }

  /**
   * The answer to one image. Rejects with a RequestError, or with what went wrong inside, which is
   * the server's fault. Takes the permit over.
   */
  answer(request: ImageRequest, permit: Permit): Promise<Answer> {
    return request.line.use(() => this.#answer(request, permit));
  }

  async #answer(request: ImageRequest, permit: Permit): Promise<Answer> {
    const { slots, clock, observer, throughput } = this.#options;
    const { line, image, signal, expiresAt, topK, wantsEmbedding, record } = request;
    const { slot } = permit;
    const cancelSlot = () => slots.cancel(slot);
    if (record) record.model = line.model;
    let answered = false;
    throughput.began();
    try {
      this.#checkEncoded(image);
      this.#quarantine.check(image);
      line.quarantine.check(image);
      const terms = {
        signal,
        expiresAt,
        schedulingDeadline: schedulingDeadlineOf(request),
      };
      this.#checkReachable(line, terms);
      slots.open(slot, expiresAt);
      signal.addEventListener('abort', cancelSlot, { once: true });

      const decoded = await this.#decode(
        { kind: 'decode', slot, image, plan: line.plan },
        { ...terms, onSuspicion: (error) => this.#quarantine.suspect(image, isUsedUp(error)) },
      );
      this.#quarantine.clear(image);
      if (record) {
        const { decodeMs, format, decoder } = decoded;
        record.decoded = { at: clock.now(), decodeMs, format, decoder };
      }
      const executed = await this.#execute(
        line,
        { slot, topK, wantsEmbedding },
        { ...terms, onSuspicion: () => line.quarantine.suspect(image) },
      );
      line.quarantine.clear(image);

      const now = clock.now();
      const queueMs = Math.max(
        0,
        now - request.arrivedAt - decoded.decodeMs - executed.executionMs,
      );
      observer.answered(queueMs, expiresAt === Number.POSITIVE_INFINITY ? null : expiresAt - now);
      const { predictions, embedding, batchSize, executionMs } = executed;
      if (record) record.executed = { at: now, executionMs, batchSize };
      answered = true;
      return {
        predictions,
        embedding,
        decodeMs: decoded.decodeMs,
        queueMs,
        inferenceMs: executionMs,
        batchSize,
      };
    } catch (error) {
      if (error instanceof ProcessLostError) {
        throw new RequestError(
          'PROCESS_LOST',
          'the processes that worked on the image were lost: retry',
          {
            cause: error,
          },
        );
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', cancelSlot);
      throughput.ended(answered);
      permit.release();
    }
  }

  /** What can be refused by looking at the encoded bytes is refused before it costs a decode. */
  #checkEncoded(image: Uint8Array): void {
    const { maxImageBytes } = this.#options;
    if (image.byteLength > maxImageBytes) {
      const text = `the image has ${image.byteLength} bytes; the limit is ${maxImageBytes}: send a smaller file`;
      throw new RequestError('IMAGE_TOO_LARGE', text);
    }
    requireDecodable(image);
  }

  /** Who can't be answered in time is told so now, and not when his time is over. */
  #checkReachable(line: ModelLine, terms: Pick<Terms, 'schedulingDeadline' | 'expiresAt'>): void {
    this.#refuse(this.#refusalOf(line, terms));
  }

  /**
   * For a unary call whose image has not come yet: throws DEADLINE_UNREACHABLE where none of the
   * models could answer it in time though it were here. So under overload most refusals cost no
   * upload.
   */
  checkDeadline(lines: readonly ModelLine[], expiresAt: number): void {
    if (expiresAt === Number.POSITIVE_INFINITY) return;
    const arrivedAt = this.#options.clock.now();
    const schedulingDeadline = schedulingDeadlineOf({ arrivedAt, expiresAt, ofStream: false });
    let refusal: RequestError | null = null;
    for (const line of lines) {
      refusal = this.#refusalOf(line, { schedulingDeadline, expiresAt });
      if (refusal === null) return;
    }
    this.#refuse(refusal);
  }

  #refusalOf(
    line: ModelLine,
    { schedulingDeadline, expiresAt }: Pick<Terms, 'schedulingDeadline' | 'expiresAt'>,
  ): RequestError | null {
    const leftMs = expiresAt - this.#options.clock.now();
    if (leftMs === Number.POSITIVE_INFINITY) return null;
    const decodedMs = this.#decoding.estimateMs(schedulingDeadline);
    if (decodedMs === null) return null;
    const finishMs = line.estimateMs(
      schedulingDeadline,
      decodedMs,
      this.#decoding.countBefore(schedulingDeadline),
    );
    return finishMs === null ? null : refusalOf(finishMs, leftMs);
  }

  #refuse(refusal: RequestError | null): void {
    if (refusal === null) return;
    this.#options.observer.dropped('decode', causeOf(refusal));
    throw refusal;
  }

  async #decode(
    image: DecodeImage,
    terms: Terms,
  ): Promise<Extract<DecoderReply, { kind: 'decoded' }>> {
    const { signal } = terms;
    const reply = await this.#counted('decode', signal, this.#decoding.add(image, terms));
    switch (reply.kind) {
      case 'decoded':
        this.#options.observer.decoded(reply.format, reply.decoder, reply.decodeMs);
        return reply;
      case 'skipped':
        throw this.#left('decode', signal);
      case 'refused':
        if (reply.reason === 'INTERNAL') throw new Error(`decoder: ${reply.message}`);
        throw new RequestError(reply.reason, reply.message);
      case 'drawn':
        throw new Error('the decoder drew where it should have decoded');
    }
  }

  async #execute(
    line: ModelLine,
    image: InferenceRequest,
    terms: Terms,
  ): Promise<Extract<InferenceResult, { kind: 'executed' }>> {
    const { signal } = terms;
    const result = await this.#counted('batch', signal, line.infer(image, terms));
    if (result.kind === 'skipped') throw this.#left('batch', signal);
    return result;
  }

  /** Counts an image that left while it was queued. */
  async #counted<T>(stage: 'decode' | 'batch', signal: AbortSignal, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const isDropped = error instanceof RequestError && DROPPED.includes(error.reason);
      if (isDropped || (signal.aborted && error === signal.reason))
        this.#options.observer.dropped(stage, causeOf(error));
      throw error;
    }
  }

  /** The image left before it was worked on: why, for the count and for the caller. */
  #left(stage: 'decode' | 'batch', signal: AbortSignal): unknown {
    const error: unknown = signal.aborted
      ? signal.reason
      : new RequestError('DEADLINE_EXCEEDED', 'the deadline passed before the image was worked on');
    this.#options.observer.dropped(stage, causeOf(error));
    return error;
  }
}

/** Whether a process has spent on the image all the processor time that it may. */
function isUsedUp(error: unknown): boolean {
  return error instanceof ProcessLostError && error.usedUp;
}

/** What a dispatcher refuses by itself. */
const DROPPED: readonly Reason[] = ['DEADLINE_UNREACHABLE', 'DEADLINE_EXCEEDED'];

function causeOf(error: unknown): DropCause {
  const reason = error instanceof RequestError ? error.reason : null;
  if (reason === 'DEADLINE_UNREACHABLE') return 'unreachable';
  return reason === 'DEADLINE_EXCEEDED' ? 'expired' : 'cancelled';
}
