/** docs/operate/operations.md explains every log line, at its level, and no other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesBelow, read, tableOf } from './repository.js';

/**
 * Calls such as `this.#log.info({ … }, 'message')` and `log.info(fieldsOf(call), 'message')`; what
 * has no text of its own repeats the problem it reports.
 */
const LOG_CALL =
  /\blog\.(debug|info|warn|error|fatal)\(\s*(?:(?:\{[^;]*?\}|\w+\([^;]*?\)),\s*)?'([^']+)'/g;

test('the log table and the code have the same lines', () => {
  const written = filesBelow('src', '.ts').flatMap((path) =>
    [...read(path).matchAll(LOG_CALL)].map(([, level, message]) => `${level}: ${message}`),
  );
  const documented = tableOf('docs/operate/operations.md', 'Message').map(
    ({ Message, Level }) => `${Level}: ${Message}`,
  );
  assert.deepEqual(documented.sort(), [...new Set(written)].sort());
});
