/**
 * Measures, while serving, how many images a second this machine answers.
 *
 * Only time in which every process is busy shows what the machine can do; it is cut into windows,
 * each of which gives a sample. What holds: neither a load below the capacity nor a single bad
 * window changes the figure, which is the median of the last three. Rejected, cancelled and
 * undecodable images do not count: they say nothing about the cost of an image. The figure includes
 * a CPU quota, neighbours, and decoders that share cores with inference. The cost table has none of
 * these, because it gives the cost of each stage by itself. Pure logic. What it costs: two
 * additions for each image.
 */
import type { Clock } from '../../clock.js';

/** Long compared with the 100 ms of a CPU quota, a garbage collection, and a batch. */
const WINDOW_MS = 2_000;
/** Fewer answers are no sample: the window of a slow model is longer. */
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
   * @param saturatedAt the number of images with which every process is busy
   * @param onSample called after each sample from the third on
   */
  constructor(clock: Clock, saturatedAt: () => number, onSample: () => void = () => {}) {
    this.#clock = clock;
    this.#saturatedAt = saturatedAt;
    this.#onSample = onSample;
  }

  /** 0: not known yet. */
  get imagesPerSecond(): number {
    return this.#imagesPerSecond;
  }

  /** Sets a first figure, which holds until there are SAMPLES samples. */
  estimate(imagesPerSecond: number): void {
    this.#imagesPerSecond = imagesPerSecond;
  }

  /** Work on an image begins. */
  began(): void {
    this.#inHand++;
    if (this.#windowFrom === null && this.#inHand >= this.#saturatedAt()) this.#open();
  }

  /** Work on an image has ended. */
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
