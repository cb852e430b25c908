/**
 * How well a model's answers fit the labels: accuracy, classes that it confuses, and calibration.
 *
 * Calibration: the expected calibration error over 15 bins of equal width (Guo et al., arXiv
 * 1706.04599, section 2): the mean distance between how sure the model is of its first class and
 * how often that is right, weighted by the images in the bin.
 */

const BINS = 15;
/** A probability of 0 would make the loss infinite. */
const LEAST_PROBABILITY = 1e-12;

export interface ClassFigures {
  readonly index: number;
  readonly images: number;
  readonly right: number;
  /** Other classes that came first, the most frequent first. */
  readonly takenFor: readonly { readonly index: number; readonly images: number }[];
}

export interface Figures {
  readonly images: number;
  /** Images whose class came first, and among the first five. */
  readonly right: number;
  readonly rightInFive: number;
  /** Mean negative logarithm of the right class's probability. */
  readonly loss: number;
  /** Mean probability of the first class, 0 to 1. */
  readonly confidence: number;
  /** 0 to 1. */
  readonly calibrationError: number;
  /** Of the classes that occur, by index. */
  readonly classes: readonly ClassFigures[];
}

/** What a model says of one image. */
export interface Answer {
  /** Index of the class that came first. */
  readonly first: number;
  readonly right: boolean;
}

export class Tally {
  readonly #confusion = new Map<number, Map<number, number>>();
  readonly #bins = Array.from({ length: BINS }, () => ({ images: 0, confidence: 0, right: 0 }));
  #images = 0;
  #rightInFive = 0;
  #loss = 0;

  /** `scores`: a probability of each class. */
  add(truth: number, scores: Float32Array): Answer {
    const own = scores[truth] as number;
    let first = 0;
    // Of equal scores the lower index comes first, as in the server's answers.
    let before = 0;
    for (const [index, score] of scores.entries()) {
      if (score > (scores[first] as number)) first = index;
      if (score > own || (score === own && index < truth)) before++;
    }
    const confidence = scores[first] as number;
    const row = this.#confusion.get(truth) ?? new Map<number, number>();
    this.#confusion.set(truth, row.set(first, (row.get(first) ?? 0) + 1));
    this.#images++;
    if (before < 5) this.#rightInFive++;
    this.#loss -= Math.log(Math.max(own, LEAST_PROBABILITY));
    const bin = this.#bins[Math.min(BINS - 1, Math.floor(confidence * BINS))];
    if (bin !== undefined) {
      bin.images++;
      bin.confidence += confidence;
      bin.right += first === truth ? 1 : 0;
    }
    return { first, right: first === truth };
  }

  figures(): Figures {
    const images = this.#images;
    const classes = [...this.#confusion]
      .map(([index, row]): ClassFigures => {
        const takenFor = [...row]
          .filter(([other]) => other !== index)
          .map(([other, count]) => ({ index: other, images: count }))
          .sort((one, other) => other.images - one.images || one.index - other.index);
        const wrong = takenFor.reduce((sum, other) => sum + other.images, 0);
        const right = row.get(index) ?? 0;
        return { index, images: right + wrong, right, takenFor };
      })
      .sort((one, other) => one.index - other.index);
    const gap = this.#bins.reduce((sum, bin) => sum + Math.abs(bin.confidence - bin.right), 0);
    return {
      images,
      right: classes.reduce((sum, { right }) => sum + right, 0),
      rightInFive: this.#rightInFive,
      loss: this.#loss / images,
      confidence: this.#bins.reduce((sum, bin) => sum + bin.confidence, 0) / images,
      calibrationError: gap / images,
      classes,
    };
  }
}

/** What two models make of the same images. */
export class Comparison {
  images = 0;
  sameFirst = 0;
  /** Images that only one of them has right. */
  onlyOne = 0;
  onlyOther = 0;

  add(one: Answer, other: Answer): void {
    this.images++;
    if (one.first === other.first) this.sameFirst++;
    if (one.right && !other.right) this.onlyOne++;
    if (other.right && !one.right) this.onlyOther++;
  }

  /**
   * Half the width of the 95 % confidence interval of the difference in accuracy, 0 to 1: that of
   * paired proportions (Wald).
   */
  get margin(): number {
    const { images, onlyOne, onlyOther } = this;
    const difference = onlyOther - onlyOne;
    return (1.96 * Math.sqrt(onlyOne + onlyOther - difference ** 2 / images)) / images;
  }
}

/** Half the width of the 95 % confidence interval of a share, 0 to 1 (Wilson). */
export function marginOf(share: number, images: number): number {
  const z = 1.96;
  const spread = Math.sqrt((share * (1 - share)) / images + z ** 2 / (4 * images ** 2));
  return (z * spread) / (1 + z ** 2 / images);
}
