/**
 * The file of `--token-file`, as server and client read it: one token a line. No error text shows a
 * token.
 */
import { SetupError } from './errors.js';

/** Fewer characters could be guessed. `openssl rand -hex 16` makes 32. */
const SHORTEST_TOKEN = 16;
const TOKEN = /^[A-Za-z0-9._~+/=-]+$/;

/**
 * The tokens of a file: one a line, blank lines and those that begin with # left out. Throws
 * SetupError, which names lines and no token.
 */
export function tokensIn(text: string, path: string): string[] {
  const problems: string[] = [];
  const tokens: string[] = [];
  text.split('\n').forEach((raw, index) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return;
    const where = `token-file: line ${index + 1} of ${path}`;
    if (!TOKEN.test(line))
      problems.push(`${where} is not a token: use letters, digits and . _ ~ + / = - only`);
    else if (line.length < SHORTEST_TOKEN)
      problems.push(`${where} has fewer than ${SHORTEST_TOKEN} characters`);
    else tokens.push(line);
  });
  if (tokens.length === 0 && problems.length === 0)
    problems.push(`token-file: ${path} has no token: write one per line`);
  if (problems.length > 0) throw new SetupError('environment', problems);
  return tokens;
}
