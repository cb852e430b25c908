import type { WriteStream } from 'node:tty';

const WIDTH = 30;

/** A progress bar on one line of a terminal; elsewhere, or for a few steps, nothing. */
export class Progress {
  readonly #total: number;
  readonly #terminal: WriteStream | null;

  constructor(total: number, stream: WriteStream) {
    this.#total = total;
    this.#terminal = stream.isTTY && total > 5 ? stream : null;
  }

  show(done: number): void {
    const filled = Math.round((done / this.#total) * WIDTH);
    this.#terminal?.write(
      `\r[${'━'.repeat(filled)}${' '.repeat(WIDTH - filled)}] ${done}/${this.#total}`,
    );
  }

  /** Removes the bar, so that a line can be written in its place. */
  clear(): void {
    this.#terminal?.write('\r\u001b[K');
  }
}
