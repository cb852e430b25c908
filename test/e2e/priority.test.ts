/** Children give way to the front, whatever priority the server was started with. */
import assert from 'node:assert/strict';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { ON_CPU, ONE_EACH, ServerProcess } from '../support/server.js';

test('under nice, children are nicer still: an unprivileged process could not become less so', async (t) => {
  const within = ['nice', '-n', '3'];
  const server = await ServerProcess.start(t, [...ONE_EACH, ...ON_CPU], { within });
  const front = getPriority(server.pid);
  assert.ok(front >= 3, `the front runs at ${front}`);
  const nicer = server.children().map(({ role, pid }) => [role, getPriority(pid) - front]);
  assert.deepEqual(Object.fromEntries(nicer), { decoder: Math.min(4, 19 - front), inference: Math.min(5, 19 - front) });
});
