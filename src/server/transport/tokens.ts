/**
 * The bearer tokens that callers may send: `authorization: Bearer TOKEN`.
 *
 * It keeps only hashes, and compares each of them in constant time with the hash of the received
 * token, even after a match, so that the time reveals nothing. It never logs a token or sends one
 * back.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { RequestError } from '../../errors.js';

const CREDENTIALS = /^bearer +(\S+)$/i;

export class Tokens {
  readonly #hashes: readonly Buffer[];

  constructor(tokens: readonly string[]) {
    this.#hashes = tokens.map(hashOf);
  }

  get count(): number {
    return this.#hashes.length;
  }

  /** `authorization`: all values of that metadata key. Throws RequestError TOKEN_INVALID. */
  check(authorization: readonly (string | Buffer)[]): void {
    const [value, ...more] = authorization;
    if (value === undefined)
      throw unauthenticated('a token is needed: send "authorization: Bearer TOKEN"');
    const [, token] = CREDENTIALS.exec(String(value)) ?? [];
    if (token === undefined || more.length > 0) {
      throw unauthenticated('authorization is malformed: send one "Bearer TOKEN"');
    }
    const sent = hashOf(token);
    let known = false;
    for (const hash of this.#hashes) known = timingSafeEqual(hash, sent) || known;
    if (!known) throw unauthenticated('the token is not valid: ask the operator for a current one');
  }
}

function unauthenticated(message: string): RequestError {
  return new RequestError('TOKEN_INVALID', message);
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
