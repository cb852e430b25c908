/** Children yield processor and memory to the front, however the server was started. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { eventually, ON_CPU, ONE_EACH, ServerProcess, SIMULATED } from '../support/server.js';

test('under nice, children are nicer still, as no unprivileged process can undo it', async (t) => {
  const within = ['nice', '-n', '3'];
  const server = await ServerProcess.start(t, [...ONE_EACH, ...ON_CPU], { within });
  const front = getPriority(server.pid);
  assert.ok(front >= 3, `the front runs at ${front}`);
  const nicer = server.children().map(({ role, pid }) => [role, getPriority(pid) - front]);
  assert.deepEqual(Object.fromEntries(nicer), {
    decoder: Math.min(4, 19 - front),
    inference: Math.min(5, 19 - front),
  });
});

const oomScoreOf = (pid: number) => Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1'));

test('when memory runs out, decoders are killed first, and the front last', async (t) => {
  const given = Math.min(oomScoreOf(process.pid) + 10, 1000);
  const within = ['sh', '-c', `echo ${given} > /proc/self/oom_score_adj; exec "$@"`, 'sh'];
  const server = await ServerProcess.start(t, SIMULATED, { within });
  const expected = { decoder: Math.min(given + 800, 1000), inference: Math.min(given + 500, 1000) };
  const found = () =>
    Object.fromEntries(server.children().map(({ role, pid }) => [role, oomScoreOf(pid)]));
  assert.deepEqual([oomScoreOf(server.pid), found()], [given, expected]);

  const [before] = server.children('decoder');
  process.kill(before?.pid ?? 0, 'SIGKILL');
  await eventually('a successor', () =>
    server.children('decoder').some(({ pid }) => pid !== before?.pid),
  );
  assert.deepEqual([oomScoreOf(server.pid), found()], [given, expected]);
});
