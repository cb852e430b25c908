/** Which ways of ending count against what a process was working on. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { lossByExit, lossByKill } from '#vitserve/workers/process/loss.js';

describe('a loss', () => {
  for (const signal of [
    'SIGSEGV',
    'SIGBUS',
    'SIGILL',
    'SIGFPE',
    'SIGABRT',
    'SIGTRAP',
    'SIGSYS',
  ] as const) {
    test(`by ${signal} is the process’s own doing`, () => {
      for (const role of ['decoder', 'inference'] as const) {
        assert.deepEqual(lossByExit(role, null, signal), {
          cause: 'signal',
          detail: `signal ${signal}`,
          selfInflicted: true,
        });
      }
    });
  }

  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1'] as const) {
    test(`by ${signal} is not`, () =>
      assert.equal(lossByExit('decoder', null, signal).selfInflicted, false));
  }

  test('by an exit is a decoder’s own doing, and the machine’s trouble where a graph was executed', () => {
    assert.deepEqual(lossByExit('decoder', 1, null), {
      cause: 'exit',
      detail: 'exit code 1',
      selfInflicted: true,
    });
    assert.equal(lossByExit('inference', 1, null).selfInflicted, false);
  });

  test('by our own kill is, for a process that ran without an end or wrote nonsense', () => {
    assert.equal(lossByKill('timeout', 'no answer', process.pid).selfInflicted, true);
    assert.equal(lossByKill('timeout', 'no answer', undefined).selfInflicted, true);
    assert.equal(lossByKill('protocol', 'nonsense', process.pid).selfInflicted, true);
    assert.equal(lossByKill('cpu', 'no end', process.pid).selfInflicted, true);
    assert.equal(lossByKill('start', 'not ready', process.pid).selfInflicted, false);
    assert.equal(
      lossByKill('timeout', 'others left it nothing', process.pid, true).selfInflicted,
      false,
    );
  });
});
