/**
 * Images that end the processes which work on them, remembered by their bytes so that they are
 * refused before they cost another one.
 *
 * An image is quarantined when two processes were lost by their own doing while each worked on it
 * alone, in this call or in others; what is lost by a kill from outside never counts
 * (`workers/process/loss.ts`). Where processes fail with every image it is not the images that are
 * at fault: after one has been found, no other is until some image has been worked on as it should.
 * One on which a process has spent all the processor time that it may is quarantined at once: that
 * was measured, and nothing but its own work uses it up.
 *
 * What it costs: nothing until a process is lost; then a look at the lengths of those remembered
 * for each image, and a SHA-256 where one is exactly as long. Entries are kept for REMEMBERED_MS,
 * and no more than MOST_REMEMBERED of them.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';

export const REMEMBERED_MS = 10 * 60_000;
export const MOST_REMEMBERED = 1_000;
const QUARANTINE_AFTER = 2;

interface Entry {
  readonly bytes: number;
  losses: number;
  /** What it is refused with; null while it is not quarantined. */
  rejection: string | null;
  until: number;
}

const ENDED_TWO = 'the image has ended two processes that worked on it: it is not taken again soon';
const USED_UP =
  'decoding the image takes more processor time than an image may: it is not taken again soon; ' +
  'send it smaller, or saved again as another file';

export class Quarantine {
  readonly #clock: Clock;
  readonly #onFound: (sha256: string, bytes: number) => void;
  /** By SHA-256, in hexadecimal; the one that is forgotten first comes first. */
  readonly #entries = new Map<string, Entry>();
  #trusted = true;

  /** @param onFound told of each image that is found to be quarantined */
  constructor(clock: Clock, onFound: (sha256: string, bytes: number) => void) {
    this.#clock = clock;
    this.#onFound = onFound;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Throws RequestError IMAGE_QUARANTINED for one that is remembered as such. */
  check(image: Uint8Array): void {
    const text = this.#find(image)?.[1].rejection ?? null;
    if (text !== null) throw rejection(text);
  }

  /**
   * A process was lost while it worked on the image alone; `usedUp`: it had spent all its processor
   * time on it. Returns the rejection where the image is quarantined, else null.
   */
  suspect(image: Uint8Array, usedUp = false): RequestError | null {
    const now = this.#clock.now();
    const hash = hashOf(image);
    const known = this.#entries.get(hash);
    this.#entries.delete(hash);
    this.#forget(now, MOST_REMEMBERED - 1);
    const isHeld = known !== undefined && known.until > now;
    const entry: Entry = isHeld
      ? known
      : { bytes: image.byteLength, losses: 0, rejection: null, until: 0 };
    entry.losses++;
    entry.until = now + REMEMBERED_MS;
    this.#entries.set(hash, entry);
    const isFound = usedUp || (entry.losses >= QUARANTINE_AFTER && this.#trusted);
    if (entry.rejection === null && isFound) {
      entry.rejection = usedUp ? USED_UP : ENDED_TWO;
      if (!usedUp) this.#trusted = false;
      this.#onFound(hash, image.byteLength);
    }
    return entry.rejection === null ? null : rejection(entry.rejection);
  }

  /**
   * A process has worked on the image as it should: nothing is held against it, and processes can
   * be trusted again.
   */
  clear(image: Uint8Array): void {
    this.#trusted = true;
    const found = this.#find(image);
    if (found !== null) this.#entries.delete(found[0]);
  }

  #find(image: Uint8Array): readonly [string, Entry] | null {
    if (this.#entries.size === 0) return null;
    this.#forget(this.#clock.now(), MOST_REMEMBERED);
    for (const { bytes } of this.#entries.values()) {
      if (bytes !== image.byteLength) continue;
      const hash = hashOf(image);
      const entry = this.#entries.get(hash);
      return entry === undefined ? null : [hash, entry];
    }
    return null;
  }

  /** Those whose time is over, and the oldest beyond `most`. */
  #forget(now: number, most: number): void {
    for (const [hash, { until }] of this.#entries) {
      if (until > now && this.#entries.size <= most) break;
      this.#entries.delete(hash);
    }
  }
}

function hashOf(image: Uint8Array): string {
  return createHash('sha256').update(image).digest('hex');
}

function rejection(text: string): RequestError {
  return new RequestError('IMAGE_QUARANTINED', text);
}
