import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ResetBudget, resetLimitsOf } from '#vitserve/server/transport/reset-budget.js';
import { FakeClock } from '../../../support/fake-clock.js';

describe('a budget of resets', () => {
  const limits = { burst: 100, perSecond: 40 };
  const spendUntilReserve = (budget: ResetBudget) => {
    let spent = 1;
    while (!budget.spend()) spent++;
    return spent;
  };

  test('says when only a reserve is left', () => {
    assert.equal(spendUntilReserve(new ResetBudget(limits, new FakeClock())), 61);
  });

  test('fills up again, more slowly than it may, and never beyond its size', () => {
    const clock = new FakeClock();
    const budget = new ResetBudget(limits, clock);
    spendUntilReserve(budget);
    clock.advance(1_000);
    assert.equal(spendUntilReserve(budget), 30, 'three quarters of 40 more');
    clock.advance(1_000_000);
    assert.equal(spendUntilReserve(budget), 61);
  });

  test('lasts for ever where calls are reset at a lower rate', () => {
    const clock = new FakeClock();
    const budget = new ResetBudget(limits, clock);
    for (let reset = 0; reset < 10_000; reset++) {
      assert.equal(budget.spend(), false);
      clock.advance(1_000 / 29);
    }
  });
});

test('limits are raised where Node.js has an option for it, and taken as they are elsewhere', () => {
  assert.deepEqual(resetLimitsOf('20.19.0'), { burst: 1_000, perSecond: 33 });
  for (const version of ['22.12.0', '24.0.0', '26.1.0']) {
    assert(resetLimitsOf(version).burst > 1_000);
    assert(resetLimitsOf(version).perSecond > 33);
  }
});
