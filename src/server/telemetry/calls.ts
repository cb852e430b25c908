/** Counts, logs and traces how calls end, and the images of streams. */
import type { Clock } from '../../clock.js';
import type { Reason } from '../../errors.js';
import { CallLog } from './call-log.js';
import type { ServerEvent } from './events.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { type CallRecord, type ImageRecord, queueMsOf } from './record.js';
import type { Tracing } from './tracing.js';

export interface CallTelemetryOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Null: no traces. */
  readonly tracing: Tracing | null;
  /** One in this many answered calls is logged; 0: none. */
  readonly logSample: number;
  /** The full name of the service whose calls are logged and traced. */
  readonly service: string;
}

type Ended = Extract<ServerEvent, { kind: 'call-ended' }>;
type StreamImageEnded = Extract<ServerEvent, { kind: 'stream-image-ended' }>;

export class CallTelemetry {
  readonly #metrics: Metrics;
  readonly #log: CallLog;
  readonly #clock: Clock;
  readonly #tracing: Tracing | null;
  readonly #service: string;

  constructor(metrics: Metrics, options: CallTelemetryOptions) {
    const { log, clock, tracing, logSample, service } = options;
    this.#metrics = metrics;
    this.#log = new CallLog(log, clock, logSample, service);
    this.#clock = clock;
    this.#tracing = tracing;
    this.#service = service;
  }

  authenticated(call: CallRecord): void {
    const { service, method, arrivedAt, header } = call;
    if (this.#tracing === null || service !== this.#service) return;
    call.trace = this.#tracing.begin(service, method, arrivedAt, header);
  }

  failed(call: CallRecord, cause: unknown): void {
    this.#log.failed(call, cause);
  }

  imageDecoded({ decoded }: ImageRecord): void {
    if (decoded === null) return;
    const { format, decoder, decodeMs } = decoded;
    this.#metrics.decodeDuration.observe({ format, decoder }, decodeMs / 1000);
  }

  imageExecuted(image: ImageRecord): void {
    const { queueDuration, deadlineSlack } = this.#metrics;
    queueDuration.observe(queueMsOf(image, image.admittedAt) / 1000);
    const slackMs = image.expiresAt - (image.executed?.at ?? 0);
    if (slackMs !== Number.POSITIVE_INFINITY) deadlineSlack.observe(slackMs / 1000);
  }

  streamImageEnded({ call, image, code, reason }: StreamImageEnded): void {
    this.#metrics.streamImages.inc({ code, reason: labelOf(reason) });
    call.trace?.streamImage(image, reason, this.#clock.now());
  }

  ended({ call, code, reason }: Ended): void {
    const { requests, requestDuration } = this.#metrics;
    const { method, arrivedAt, image, trace } = call;
    const at = this.#clock.now();
    requests.inc({ method, code, reason: labelOf(reason) });
    requestDuration.observe({ method }, (at - arrivedAt) / 1000);
    this.#log.ended(call, code, reason, at - arrivedAt);
    trace?.end({ code, reason, requestId: call.requestId, image, at });
  }
}

function labelOf(reason: Reason | null): string {
  return reason ?? '';
}
