/**
 * Turns the standard output and error of a child into lines for the log, however much it writes.
 *
 * A line is cut at MOST_LINE_BYTES, so a child that writes megabytes without a line break costs no
 * memory. At most MOST_LINES lines are passed on in WINDOW_MS, so a child that writes endlessly
 * does not fill the log. A line of its own counts the dropped ones.
 */
import type { Clock } from '../../clock.js';

export const MOST_LINE_BYTES = 1_000;
export const MOST_LINES = 100;
export const WINDOW_MS = 10_000;

const NEWLINE = 0x0a;

export class LineReader {
  readonly #clock: Clock;
  readonly #onLine: (line: string) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  #cut = false;
  #windowFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #leftOut = 0;

  constructor(clock: Clock, onLine: (line: string) => void) {
    this.#clock = clock;
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, end));
      this.#endLine();
      from = end + 1;
    }
    this.#keep(chunk.subarray(from));
  }

  /** The output has ended. */
  end(): void {
    if (this.#bytes > 0) this.#endLine();
    this.#tellLeftOut();
  }

  #keep(part: Buffer): void {
    const room = MOST_LINE_BYTES - this.#bytes;
    if (part.length > room) this.#cut = true;
    if (room === 0 || part.length === 0) return;
    // Copied: a view would keep the whole chunk.
    this.#parts.push(Buffer.from(part.subarray(0, room)));
    this.#bytes += Math.min(room, part.length);
  }

  #endLine(): void {
    const text = Buffer.concat(this.#parts).toString().replace(/\r$/, '');
    const line = this.#cut ? `${text} …` : text;
    this.#parts = [];
    this.#bytes = 0;
    this.#cut = false;
    const now = this.#clock.now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.#tellLeftOut();
      this.#windowFrom = now;
      this.#lines = 0;
    }
    if (this.#lines < MOST_LINES) {
      this.#lines++;
      this.#onLine(line);
    } else this.#leftOut++;
  }

  #tellLeftOut(): void {
    if (this.#leftOut > 0) this.#onLine(`… ${this.#leftOut} more lines were left out`);
    this.#leftOut = 0;
  }
}
