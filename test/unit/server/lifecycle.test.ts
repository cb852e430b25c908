/** The states of the server: which may follow which, and when watchers are called. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Lifecycle, type LifecycleState } from '#vitserve/server/lifecycle.js';

const STATES: readonly LifecycleState[] = ['starting', 'serving', 'draining', 'stopped', 'failed'];

const LEGAL: readonly string[] = [
  'starting → serving',
  'starting → draining',
  'starting → failed',
  'serving → draining',
  'serving → failed',
  'draining → stopped',
  'draining → failed',
];

/** A legal way to each state. */
const WAYS: Readonly<Record<LifecycleState, readonly LifecycleState[]>> = {
  starting: [],
  serving: ['serving'],
  draining: ['serving', 'draining'],
  stopped: ['serving', 'draining', 'stopped'],
  failed: ['failed'],
};

function lifecycleIn(state: LifecycleState): Lifecycle {
  const lifecycle = new Lifecycle();
  for (const step of WAYS[state]) lifecycle.to(step);
  assert.equal(lifecycle.state, state);
  return lifecycle;
}

describe('a transition', () => {
  for (const from of STATES) {
    for (const to of STATES) {
      const transition = `${from} → ${to}`;
      if (LEGAL.includes(transition)) {
        test(`${transition} is made and told`, () => {
          const lifecycle = lifecycleIn(from);
          const seen: LifecycleState[] = [];
          lifecycle.watch((state) => seen.push(state));
          lifecycle.to(to);
          assert.equal(lifecycle.state, to);
          assert.deepEqual(seen, [to]);
        });
      } else {
        test(`${transition} throws, changes nothing and is not told`, () => {
          const lifecycle = lifecycleIn(from);
          lifecycle.watch(() => assert.fail('told of an illegal transition'));
          assert.throws(() => lifecycle.to(to), {
            message: `illegal lifecycle transition: ${transition}`,
          });
          assert.equal(lifecycle.state, from);
        });
      }
    }
  }
});

describe('a watcher', () => {
  test('is called for every later transition, in order, after the state has changed', () => {
    const lifecycle = new Lifecycle();
    lifecycle.to('serving');
    const seen: string[] = [];
    lifecycle.watch((state) => seen.push(`${state} ${lifecycle.state}`));
    lifecycle.to('draining');
    lifecycle.to('stopped');
    assert.deepEqual(seen, ['draining draining', 'stopped stopped']);
  });

  test('that has ended its watch is not called any more, and the others still are', () => {
    const lifecycle = new Lifecycle();
    const seen: string[] = [];
    const end = lifecycle.watch((state) => seen.push(`first ${state}`));
    lifecycle.watch((state) => seen.push(`second ${state}`));
    end();
    end();
    lifecycle.to('serving');
    assert.deepEqual(seen, ['second serving']);
  });

  test('may end its own watch while it is called', () => {
    const lifecycle = new Lifecycle();
    const seen: string[] = [];
    const end = lifecycle.watch((state) => {
      seen.push(`once ${state}`);
      end();
    });
    lifecycle.watch((state) => seen.push(`always ${state}`));
    lifecycle.to('serving');
    lifecycle.to('draining');
    assert.deepEqual(seen, ['once serving', 'always serving', 'always draining']);
  });
});
