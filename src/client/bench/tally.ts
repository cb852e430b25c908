/**
 * The outcomes of the calls of one measurement.
 *
 * Latencies, statuses and the server's timings cover the calls that were due within the measured
 * time, however late they ended. Rates cover the answers that arrived within it, whenever their
 * call was due. So neither a backlog that is finished afterwards nor calls cut off at the end
 * distort a rate.
 */
import { type DurationSummary, Durations } from './durations.js';

export interface ServerTiming {
  readonly decodeMs: number;
  readonly queueMs: number;
  readonly inferenceMs: number;
  readonly batchSize: number;
}

export interface Outcome {
  /**
   * The gRPC status by name, or NOT_SENT: the deadline had passed before the generator could send
   * it.
   */
  readonly code: string;
  /** The server's reason; empty for OK and for statuses of the transport. */
  readonly reason: string;
  /** The status's message; empty for OK. */
  readonly message: string;
  readonly timing: ServerTiming | null;
}

export const NOT_SENT: Outcome = { code: 'NOT_SENT', reason: '', message: '', timing: null };

/** Times on one clock, in milliseconds. */
export interface EndedCall {
  readonly dueAt: number;
  readonly sentAt: number;
  readonly endedAt: number;
  readonly outcome: Outcome;
}

export interface TallyFigures {
  /** The measured time. */
  readonly seconds: number;
  /** Answers of any status, per second. */
  readonly callsPerSecond: number;
  /** Calls answered OK within the deadline, counted from when they were due, per second. */
  readonly goodputPerSecond: number;
  /** From when a call was due to its answer: calls answered OK. */
  readonly latencyMs: DurationSummary | null;
  /** The same for calls that ended with another status: how soon a rejection is known. */
  readonly failureLatencyMs: DurationSummary | null;
  /** By status and reason; `message` is that of the first such call. */
  readonly outcomes: readonly (Omit<Outcome, 'timing'> & { readonly calls: number })[];
  /** Calls in flight when the measurement was ended early. */
  readonly unfinished: number;
  /** The server's timings of the calls that it answered. */
  readonly server: {
    readonly decodeMs: DurationSummary;
    readonly queueMs: DurationSummary;
    readonly inferenceMs: DurationSummary;
    /** The rest of the time from sending to answer: the network, the front, this program. */
    readonly elsewhereMs: DurationSummary;
    /** Images per execution. */
    readonly meanBatchSize: number;
    /** Calls by the size of their batch. */
    readonly batchSizes: Readonly<Record<string, number>>;
  } | null;
  /** From when a call was due to when it was sent: the generator's own delay. */
  readonly sendLagMs: DurationSummary | null;
}

export class Tally {
  readonly #from: number;
  readonly #until: number;
  readonly #timeoutMs: number;
  readonly #latency = new Durations();
  readonly #failureLatency = new Durations();
  readonly #sendLag = new Durations();
  readonly #server = {
    decodeMs: new Durations(),
    queueMs: new Durations(),
    inferenceMs: new Durations(),
  };
  readonly #elsewhere = new Durations();
  readonly #batchSizes = new Map<number, number>();
  readonly #outcomes = new Map<string, Omit<Outcome, 'timing'> & { calls: number }>();
  #begun = 0;
  #ended = 0;
  #answersInTime = 0;
  #goodInTime = 0;

  /** `from` and `until` bound the measured time; `timeoutMs` is the deadline of each call. */
  constructor({ from, until, timeoutMs }: { from: number; until: number; timeoutMs: number }) {
    this.#from = from;
    this.#until = until;
    this.#timeoutMs = timeoutMs;
  }

  begun(dueAt: number): void {
    if (this.#isWithin(dueAt)) this.#begun++;
  }

  ended({ dueAt, sentAt, endedAt, outcome }: EndedCall): void {
    const latency = endedAt - dueAt;
    const isOk = outcome.code === 'OK';
    if (this.#isWithin(endedAt) && outcome !== NOT_SENT) {
      this.#answersInTime++;
      if (isOk && latency <= this.#timeoutMs) this.#goodInTime++;
    }
    if (!this.#isWithin(dueAt)) return;
    this.#ended++;
    this.#sendLag.record(sentAt - dueAt);
    this.#count(outcome);
    if (!isOk) {
      this.#failureLatency.record(latency);
      return;
    }
    this.#latency.record(latency);
    if (outcome.timing !== null) this.#recordTiming(outcome.timing, endedAt - sentAt);
  }

  /** `stoppedAt`: when the measurement ended, which may be early. */
  figures(stoppedAt: number): TallyFigures {
    const seconds = Math.max(0, Math.min(stoppedAt, this.#until) - this.#from) / 1000;
    const rate = (count: number) => (seconds === 0 ? 0 : count / seconds);
    return {
      seconds,
      callsPerSecond: rate(this.#answersInTime),
      goodputPerSecond: rate(this.#goodInTime),
      latencyMs: this.#latency.summary(),
      failureLatencyMs: this.#failureLatency.summary(),
      outcomes: [...this.#outcomes.values()].sort((a, b) => b.calls - a.calls),
      unfinished: this.#begun - this.#ended,
      server: this.#serverFigures(),
      sendLagMs: this.#sendLag.summary(),
    };
  }

  #isWithin(time: number): boolean {
    return time >= this.#from && time < this.#until;
  }

  #count({ code, reason, message }: Outcome): void {
    const key = `${code} ${reason}`;
    const entry = this.#outcomes.get(key) ?? { code, reason, message, calls: 0 };
    entry.calls++;
    this.#outcomes.set(key, entry);
  }

  #recordTiming(
    { decodeMs, queueMs, inferenceMs, batchSize }: ServerTiming,
    serviceMs: number,
  ): void {
    this.#server.decodeMs.record(decodeMs);
    this.#server.queueMs.record(queueMs);
    this.#server.inferenceMs.record(inferenceMs);
    this.#elsewhere.record(serviceMs - decodeMs - queueMs - inferenceMs);
    this.#batchSizes.set(batchSize, (this.#batchSizes.get(batchSize) ?? 0) + 1);
  }

  #serverFigures(): TallyFigures['server'] {
    const [decodeMs, queueMs, inferenceMs, elsewhereMs] = [
      this.#server.decodeMs.summary(),
      this.#server.queueMs.summary(),
      this.#server.inferenceMs.summary(),
      this.#elsewhere.summary(),
    ];
    if (decodeMs === null || queueMs === null || inferenceMs === null || elsewhereMs === null)
      return null;
    // Each image of a batch of n stands for one n-th of an execution.
    let [images, executions] = [0, 0];
    for (const [size, count] of this.#batchSizes) {
      images += count;
      executions += count / Math.max(1, size);
    }
    const sizes = [...this.#batchSizes].sort(([a], [b]) => a - b);
    return {
      decodeMs,
      queueMs,
      inferenceMs,
      elsewhereMs,
      meanBatchSize: images / executions,
      batchSizes: Object.fromEntries(sizes),
    };
  }
}
