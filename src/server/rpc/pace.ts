/** Has the messages of a call read one by one, each after a call of `next`. */
export class Pace {
  #mayRead = true;
  #waiting: (() => void) | null = null;

  /** `read` reads one message: now, or at the next `next`. */
  request(read: () => void): void {
    if (this.#mayRead) {
      this.#mayRead = false;
      read();
    } else this.#waiting = read;
  }

  /** Has one more message read. */
  next(): void {
    const read = this.#waiting;
    this.#waiting = null;
    if (read === null) this.#mayRead = true;
    else read();
  }
}
