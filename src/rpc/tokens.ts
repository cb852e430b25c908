/**
 * The bearer tokens that callers may send: `authorization: Bearer TOKEN`.
 *
 * Only hashes are kept, and each is compared in constant time with the hash of what was sent, whether or not one before it
 * was equal, so that the time tells nothing of a token. None is ever logged, nor sent back.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { RequestError, SetupError } from '../errors.js';

/** Fewer characters could be guessed. `openssl rand -hex 16` makes 32. */
const SHORTEST_TOKEN = 16;
const TOKEN = /^[A-Za-z0-9._~+/=-]+$/;
const CREDENTIALS = /^bearer +(\S+)$/i;

/** The tokens of a file: one a line, blank lines and those that begin with # left out. Throws SetupError, which names lines and no token. */
export function tokensIn(text: string, path: string): string[] {
  const problems: string[] = [];
  const tokens: string[] = [];
  text.split('\n').forEach((raw, index) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return;
    const where = `token-file: line ${index + 1} of ${path}`;
    if (!TOKEN.test(line))
      problems.push(`${where} is no token: letters, digits and . _ ~ + / = - are what one is made of`);
    else if (line.length < SHORTEST_TOKEN) problems.push(`${where} has less than ${SHORTEST_TOKEN} characters`);
    else tokens.push(line);
  });
  if (tokens.length === 0 && problems.length === 0) problems.push(`token-file: ${path} has no token: give one a line`);
  if (problems.length > 0) throw new SetupError('environment', problems);
  return tokens;
}

export class Tokens {
  readonly #hashes: readonly Buffer[];

  constructor(tokens: readonly string[]) {
    this.#hashes = tokens.map(hashOf);
  }

  get count(): number {
    return this.#hashes.length;
  }

  /** `authorization`: all values of that metadata key. Throws RequestError UNAUTHENTICATED_CALLER. */
  check(authorization: readonly (string | Buffer)[]): void {
    const [value, ...more] = authorization;
    if (value === undefined) throw unauthenticated('a token is needed: send "authorization: Bearer TOKEN"');
    const [, token] = CREDENTIALS.exec(String(value)) ?? [];
    if (token === undefined || more.length > 0) {
      throw unauthenticated('authorization has another form than one "Bearer TOKEN"');
    }
    const sent = hashOf(token);
    let known = false;
    for (const hash of this.#hashes) known = timingSafeEqual(hash, sent) || known;
    if (!known) throw unauthenticated('the token is not valid here');
  }
}

function unauthenticated(message: string): RequestError {
  return new RequestError('UNAUTHENTICATED_CALLER', message);
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
