/**
 * Which rejections are sent at once, and which later. The test moves time by hand, and every call
 * is rejected.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import {
  MOST_HELD,
  MOST_HELD_OF_A_CONNECTION,
  RejectionThrottle,
} from '#vitserve/server/admission/rejection-throttle.js';
import { FakeClock } from '../../../support/fake-clock.js';

const NO_DEADLINE = Number.POSITIVE_INFINITY;
const PUSHBACK_MS = 4_000;

let clock: FakeClock;
let throttle: RejectionThrottle;
let imagesPerSecond: number;
beforeEach(() => {
  clock = new FakeClock();
  imagesPerSecond = 8;
  throttle = new RejectionThrottle({
    clock,
    imagesPerSecond: () => imagesPerSecond,
    report: () => {},
  });
});

interface Rejection {
  /** Milliseconds between the call and its rejection. */
  readonly afterMs: number;
  readonly retryAfterMs: number;
}

/** One call that is rejected; `onRejected` is called when its caller is told. */
function call(
  on: object,
  onRejected: (rejection: Rejection) => void = () => {},
  { pushbackMs = PUSHBACK_MS, leftMs = NO_DEADLINE } = {},
): void {
  const calledAt = clock.now();
  const left = throttle.callBegan(on);
  const { holdMs, retryAfterMs } = throttle.judge(on, pushbackMs, leftMs);
  throttle.hold(on, holdMs, () => {
    left();
    onRejected({ afterMs: clock.now() - calledAt, retryAfterMs });
  });
}

/** A caller that retries a millisecond after each rejection. Returns the pushbacks. */
function naive(
  on: object,
  options: { readonly pushbackMs?: number; readonly leftMs?: number } = {},
): Rejection[] {
  const rejections: Rejection[] = [];
  const again = () =>
    call(
      on,
      (rejection) => {
        rejections.push(rejection);
        clock.after(1, again);
      },
      options,
    );
  clock.after(0, again);
  return rejections;
}

/** A caller that obeys the pushback. */
function good(on: object): Rejection[] {
  const rejections: Rejection[] = [];
  const again = () =>
    call(on, (rejection) => {
      rejections.push(rejection);
      clock.after(rejection.retryAfterMs, again);
    });
  clock.after(0, again);
  return rejections;
}

const many = <Value>(count: number, make: () => Value): Value[] =>
  Array.from({ length: count }, make);

/** Rejections of the next ten seconds. */
function inTenSeconds(all: readonly Rejection[][]): number {
  const before = all.flat().length;
  clock.advance(10_000);
  return all.flat().length - before;
}

describe('a caller that retries at once', () => {
  for (const callers of [1, 16, 64, 256]) {
    test(`is rejected seldom: ${callers} over a connection each`, () => {
      const all = many(callers, () => naive({}));
      clock.advance(5_000);
      const rejected = inTenSeconds(all);
      assert.ok(rejected <= 10 * Math.max(60, callers / 2 + 5), `${rejected} rejections`);
      assert.ok(all.every((each) => each.every(({ afterMs }) => afterMs < 2_001)));
    });
  }

  test('is rejected seldom: 64 over one connection', () => {
    const connection = {};
    const all = many(64, () => naive(connection));
    clock.advance(5_000);
    assert.ok(inTenSeconds(all) <= 600);
  });

  test('is held longer the longer it goes on, and at first not at all after a quiet time', () => {
    const connection = {};
    let going = true;
    const rejections: Rejection[] = [];
    const again = () => {
      if (!going) return;
      call(connection, (rejection) => {
        rejections.push(rejection);
        clock.after(1, again);
      });
    };
    again();
    const others = many(63, () => naive({}));
    clock.advance(10_000);
    assert.equal(rejections[0]?.afterMs, 0);
    assert.ok((rejections.at(-1)?.afterMs ?? 0) > 500);
    going = false;
    clock.advance(PUSHBACK_MS + 2_000);
    const later: Rejection[] = [];
    call(connection, (rejection) => later.push(rejection));
    assert.equal(later[0]?.afterMs, 0);
    assert.ok(others.every((each) => each.length > 0));
  });

  test('is never held beyond half of the time to its deadline', () => {
    const all = many(64, () => naive({}, { leftMs: 100 }));
    clock.advance(5_000);
    for (const { afterMs } of all.flat()) assert.ok(afterMs <= 50, `${afterMs}`);
  });

  test('where pushbacks are short costs no more than three rejections for each image that is answered', () => {
    imagesPerSecond = 100;
    const all = many(200, () => naive({}, { pushbackMs: 20 }));
    clock.advance(5_000);
    const rejected = inTenSeconds(all);
    assert.ok(rejected <= 10 * 3 * 100, `${rejected} rejections`);
  });
});

describe('a caller that obeys the pushback', () => {
  test('is never held, even where others retry at once', () => {
    const others = many(64, () => naive({}));
    const all = many(100, () => good({}));
    clock.advance(60_000);
    assert.deepEqual([...new Set(all.flat().map(({ afterMs }) => afterMs))], [0]);
    assert.ok(all.every((each) => each.length >= 60_000 / 5_000));
    assert.ok(others.flat().some(({ afterMs }) => afterMs > 0));
  });

  test('is told the pushback that was given, as long as rejections are few', () => {
    const [rejections] = [good({})];
    clock.advance(60_000);
    assert.deepEqual(
      [...new Set(rejections.map(({ retryAfterMs }) => retryAfterMs))],
      [PUSHBACK_MS],
    );
  });
});

describe('many callers behind a proxy', () => {
  test('that all obey the pushback are held for a bounded time, and retry no later for it', () => {
    const proxy = {};
    // The calls that are being answered show how many callers there are.
    const ends = many(200, () => throttle.callBegan(proxy));
    const all = many(500, () => good(proxy));
    clock.advance(60_000);
    for (const { afterMs, retryAfterMs } of all.flat()) {
      assert.ok(afterMs < 251, `${afterMs}`);
      assert.ok(afterMs + retryAfterMs <= 5_250);
    }
    for (const end of ends) end();
  });

  test('that call once each, twice as many as are answered, are not held', () => {
    const proxy = {};
    imagesPerSecond = 300;
    const ends = many(300, () => throttle.callBegan(proxy));
    const rejections: Rejection[] = [];
    // A second's worth at once would be a burst: they come evenly.
    for (let at = 0; at < 10_000; at += 1000 / 600) {
      clock.after(at, () =>
        call(proxy, (rejection) => rejections.push(rejection), { pushbackMs: 150, leftMs: 500 }),
      );
    }
    clock.advance(12_000);
    assert.ok(rejections.length >= 5_990);
    assert.deepEqual([...new Set(rejections.map(({ afterMs }) => afterMs))], [0]);
    for (const end of ends) end();
  });
});

describe('what is held', () => {
  const hold = (on: object, sent: object[] = []) => throttle.hold(on, 1_000, () => sent.push(on));

  test('is bounded over all connections, and more is sent at once', () => {
    const sent: object[] = [];
    for (let call = 0; call < MOST_HELD + 3; call++) hold({}, sent);
    assert.deepEqual([throttle.held, throttle.held, sent.length], [MOST_HELD, MOST_HELD, 3]);
    clock.advance(1_000);
    assert.deepEqual(
      [throttle.held, throttle.held, sent.length, clock.timers],
      [0, 0, MOST_HELD + 3, 0],
    );
  });

  test('is bounded on each connection, so that others find a place there', () => {
    const [connection, sent] = [{}, [] as object[]];
    for (let call = 0; call < MOST_HELD_OF_A_CONNECTION + 3; call++) hold(connection, sent);
    assert.deepEqual([throttle.held, sent.length], [MOST_HELD_OF_A_CONNECTION, 3]);
    hold({}, sent);
    assert.equal(sent.length, 3);
  });

  test('is forgotten when its call is cancelled', () => {
    const [connection, sent] = [{}, [] as object[]];
    const [leave] = [hold(connection, sent), hold(connection, sent)];
    leave();
    leave();
    assert.deepEqual([throttle.held, clock.timers], [1, 1]);
    clock.advance(1_000);
    assert.equal(sent.length, 1);
  });

  test('is sent at once when the server stops', () => {
    const sent: object[] = [];
    for (let call = 0; call < 10; call++) hold({}, sent);
    throttle.releaseAll();
    assert.deepEqual([throttle.held, throttle.held, sent.length, clock.timers], [0, 0, 10, 0]);
  });
});
