/** Lets the messages of a call be read one by one, each when its turn is given. */
export class Pace {
  #mayRead = true;
  #waiting: (() => void) | null = null;

  /** `read` reads one message: now, or when the turn is given. */
  request(read: () => void): void {
    if (this.#mayRead) {
      this.#mayRead = false;
      read();
    } else this.#waiting = read;
  }

  /** Gives the turn to the next message. */
  next(): void {
    const read = this.#waiting;
    this.#waiting = null;
    if (read === null) this.#mayRead = true;
    else read();
  }
}
