/**
 * Remembers images that end the processes which work on them, by their bytes, so that they are
 * rejected before they cost another process.
 *
 * An image is quarantined after two self-inflicted losses of processes that worked on it alone, in
 * this call or in others; a kill from outside never counts (`workers/process/loss.ts`). Where
 * processes fail with every image, the images are not at fault: so after one is quarantined, no
 * other is until a process has worked on some image without a fault. An image on which a process
 * has spent its whole limit of processor time is quarantined at once: that is measured, and only
 * the image's own work uses it up.
 *
 * What it costs: nothing until a process is lost; then, for each image, a comparison with the
 * remembered lengths, and a SHA-256 where one is equal. At most MOST_REMEMBERED entries are kept,
 * each for REMEMBERED_MS.
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
  /** The message of its rejection; null: not quarantined. */
  rejection: string | null;
  until: number;
}

const ENDED_TWO =
  'two processes ended while they worked on the image, so it is rejected for a while: ' +
  'do not send it again, or save it again as another file';
const USED_UP =
  'decoding the image takes more processor time than allowed, so it is rejected for a while: ' +
  'send it smaller, or save it again as another file';

export class Quarantine {
  readonly #clock: Clock;
  readonly #onFound: (sha256: string, bytes: number) => void;
  /** By SHA-256, in hexadecimal, in the order in which they are forgotten. */
  readonly #entries = new Map<string, Entry>();
  #trusted = true;

  /** @param onFound called for each newly quarantined image */
  constructor(clock: Clock, onFound: (sha256: string, bytes: number) => void) {
    this.#clock = clock;
    this.#onFound = onFound;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Throws RequestError IMAGE_QUARANTINED. */
  check(image: Uint8Array): void {
    const text = this.#find(image)?.[1].rejection ?? null;
    if (text !== null) throw rejection(text);
  }

  /**
   * A process was lost while it worked on the image alone; `usedUp`: it had spent its limit of
   * processor time. Returns the rejection where the image is quarantined, else null.
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
   * A process has worked on the image without a fault: forgets the image, and trusts processes
   * again.
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

  /** Drops entries whose time is over, and the oldest beyond `most`. */
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
