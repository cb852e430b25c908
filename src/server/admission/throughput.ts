/**
 * How many images a second this machine answers, measured while it serves.
 *
 * Only time in which every process had work tells what the machine
 * can do; such time is cut into windows, and a window is a sample. What holds: load that the
 * machine copes with changes nothing, and so does one bad window, since the figure is the median of
 * the last three. Rejected, cancelled and undecodable images don't count: they say nothing of what
 * an image costs. A CPU quota, neighbours, and decoders that share cores with inference are all in
 * the figure, which is why it is not reckoned from the cost table: that gives the cost of each
 * stage by itself. Pure logic. Costs two additions an image.
 */
import type { Clock } from '../../clock.js';

/** Long against the 100 ms of a CPU quota, a collection of garbage, and a batch. */
const WINDOW_MS = 2_000;
/** Fewer answers make no figure: the window of a slow model is longer. */
const FEWEST_ANSWERS = 16;
const SAMPLES = 3;

export class Throughput {
  readonly #clock: Clock;
  readonly #saturatedAt: () => number;
  readonly #onSample: () => void;
  #samples: readonly number[] = [];
  #imagesPerSecond = 0;
  #inHand = 0;
  #windowFrom: number | null = null;
  #answers = 0;

  /**
   * `saturatedAt`: with so many images in hand every process has work. `onSample` is called after
   * each sample.
   */
  constructor(clock: Clock, saturatedAt: () => number, onSample: () => void = () => {}) {
    this.#clock = clock;
    this.#saturatedAt = saturatedAt;
    this.#onSample = onSample;
  }

  /** 0 while nothing is known. */
  get imagesPerSecond(): number {
    return this.#imagesPerSecond;
  }

  /** A first figure, which holds until there are SAMPLES measured ones. */
  estimate(imagesPerSecond: number): void {
    this.#imagesPerSecond = imagesPerSecond;
  }

  /** An image has been admitted. */
  began(): void {
    this.#inHand++;
    if (this.#windowFrom === null && this.#inHand >= this.#saturatedAt()) this.#open();
  }

  /** It has left again. */
  ended(answered: boolean): void {
    this.#inHand--;
    if (this.#windowFrom !== null && answered) this.#answered(this.#windowFrom);
    if (this.#inHand < this.#saturatedAt()) this.#windowFrom = null;
  }

  #answered(from: number): void {
    this.#answers++;
    const elapsedMs = this.#clock.now() - from;
    if (elapsedMs < WINDOW_MS || this.#answers < FEWEST_ANSWERS) return;
    this.#samples = [...this.#samples, (this.#answers / elapsedMs) * 1000].slice(-SAMPLES);
    this.#open();
    if (this.#samples.length < SAMPLES) return;
    this.#imagesPerSecond = [...this.#samples].sort((one, other) => one - other)[
      SAMPLES >> 1
    ] as number;
    this.#onSample();
  }

  #open(): void {
    this.#windowFrom = this.#clock.now();
    this.#answers = 0;
  }
}
