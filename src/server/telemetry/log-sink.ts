/**
 * Writes log lines without ever blocking or ending the server, whatever its output does.
 *
 * What holds: one write at a time, in order, whole lines. Lines that the output does not take wait,
 * up to MOST_WAITING_BYTES. Further lines are dropped and counted by cause, and when there is room
 * again the log says how many. A failed write is retried for as long as the server runs: a full
 * disk may get space, a named pipe another reader. What it costs: with an output that takes
 * everything, one write for each line, or for each `gatherMs`.
 *
 * pino's own destination does not fit: its `flushSync` retries for ever where a write fails, and
 * `log.fatal` calls it.
 */
import type { Clock } from '../../clock.js';
import type { Output } from '../../system/output.js';

/**
 * The reader is too slow or does not read; the disk is full; the reader has gone; anything else,
 * such as a lost terminal.
 */
export const LOG_DROP_CAUSES = ['unread', 'no_space', 'closed', 'error'] as const;
export type LogDropCause = (typeof LOG_DROP_CAUSES)[number];

export const MOST_WAITING_BYTES = 1024 * 1024;
/** Of one write. */
const MOST_WRITE_BYTES = 64 * 1024;
/** While the output is full, doubled each time. */
const FIRST_RETRY_MS = 5;
const LAST_RETRY_MS = 200;
/** After a failed write. */
const FAILED_RETRY_MS = 1_000;

const CAUSES: Readonly<Record<string, LogDropCause>> = {
  EAGAIN: 'unread',
  ENOSPC: 'no_space',
  EDQUOT: 'no_space',
  EFBIG: 'no_space',
  EPIPE: 'closed',
  ECONNRESET: 'closed',
};

export class LogSink {
  readonly #output: Output;
  readonly #clock: Clock;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #isSending = false;
  /** Set while the next write is due later. */
  #cancelDue: (() => void) | null = null;
  #retryMs = FIRST_RETRY_MS;
  /** Why lines wait, if they do. */
  #cause: LogDropCause = 'unread';
  /** Dropped lines that are not reported yet, by cause. */
  #unreported = new Map<LogDropCause, number>();
  #flushes: ((isEmpty: boolean) => void)[] = [];

  /** Lines dropped since the start, by cause. */
  readonly dropped: Readonly<Record<LogDropCause, number>>;
  readonly #dropped: Record<LogDropCause, number> = { unread: 0, no_space: 0, closed: 0, error: 0 };
  #roomAgain: (dropped: ReadonlyMap<LogDropCause, number>) => void = () => {};

  constructor(output: Output, clock: Clock) {
    this.#output = output;
    this.#clock = clock;
    this.dropped = this.#dropped;
  }

  /** Calls back when there is room again after lines were dropped. The listener may write. */
  onRoomAgain(listener: (dropped: ReadonlyMap<LogDropCause, number>) => void): void {
    this.#roomAgain = listener;
  }

  /** `line` ends with a line break. Never throws or blocks. */
  write(line: string): void {
    this.#report();
    const bytes = Buffer.from(line);
    if (this.#unreported.size > 0 || this.#waitingBytes + bytes.length > MOST_WAITING_BYTES) {
      this.#dropped[this.#cause]++;
      this.#unreported.set(this.#cause, (this.#unreported.get(this.#cause) ?? 0) + 1);
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    const { gatherMs } = this.#output;
    if (gatherMs > 0 && !this.#isWriting && this.#cancelDue === null) this.#sendIn(gatherMs);
    else this.#send();
  }

  /**
   * Writes out all lines, before the process ends. Resolves to whether that succeeded, after
   * `timeoutMs` at most.
   */
  async flush(timeoutMs: number): Promise<boolean> {
    const flushed = new Promise<boolean>((resolve) => this.#flushes.push(resolve));
    // The timers of the clock would let the process end before.
    const timer = setTimeout(() => this.#flushed(false), timeoutMs);
    this.#cancelDue?.();
    this.#cancelDue = null;
    this.#retryMs = FIRST_RETRY_MS;
    this.#send();
    const isEmpty = await flushed;
    clearTimeout(timer);
    return isEmpty;
  }

  #send(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#waiting.length > 0 && !this.#isWriting && this.#cancelDue === null) {
      this.#isWriting = true;
      this.#output.write(this.#nextBytes(), (error, written) => {
        this.#isWriting = false;
        this.#forget(written);
        if (error !== null || written === 0)
          this.#retryLater(CAUSES[error?.code ?? 'EAGAIN'] ?? 'error');
        else this.#retryMs = FIRST_RETRY_MS;
        this.#send();
      });
    }
    this.#isSending = false;
    if (this.#waiting.length > 0) return;
    this.#cause = 'unread';
    this.#report();
    if (this.#waiting.length === 0) this.#flushed(true);
  }

  #nextBytes(): Buffer {
    let [count, bytes] = [0, 0];
    for (const line of this.#waiting) {
      if (count > 0 && bytes + line.length > MOST_WRITE_BYTES) break;
      bytes += line.length;
      count++;
    }
    return count === 1
      ? (this.#waiting[0] as Buffer)
      : Buffer.concat(this.#waiting.slice(0, count), bytes);
  }

  #forget(written: number): void {
    this.#waitingBytes -= written;
    let [count, left] = [0, written];
    while (left > 0 && left >= (this.#waiting[count] as Buffer).length)
      left -= (this.#waiting[count++] as Buffer).length;
    this.#waiting.splice(0, count);
    if (left > 0) this.#waiting[0] = (this.#waiting[0] as Buffer).subarray(left);
  }

  #retryLater(cause: LogDropCause): void {
    this.#cause = cause;
    this.#sendIn(cause === 'unread' ? this.#retryMs : FAILED_RETRY_MS);
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS);
    if (cause !== 'unread') this.#flushed(false);
  }

  #sendIn(delayMs: number): void {
    this.#cancelDue = this.#clock.after(delayMs, () => {
      this.#cancelDue = null;
      this.#send();
    });
  }

  /** Waits for half of the room: else every other line at a slow output would report drops. */
  #report(): void {
    if (this.#unreported.size === 0 || this.#waitingBytes > MOST_WAITING_BYTES / 2) return;
    const dropped = this.#unreported;
    this.#unreported = new Map();
    this.#roomAgain(dropped);
  }

  #flushed(isEmpty: boolean): void {
    for (const resolve of this.#flushes.splice(0)) resolve(isEmpty);
  }
}
