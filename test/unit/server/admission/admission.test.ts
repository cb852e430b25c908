/** Which calls are admitted, and how the others are rejected. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { Admission, type Upload } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import { FakeClock } from '../../../support/fake-clock.js';

const UPLOAD_TIMEOUT_MS = 1_000;

function createAdmission(limits: { readonly permits: number; readonly random?: number }) {
  const clock = new FakeClock();
  const permits = new Permits(limits.permits, clock);
  const admission = new Admission({
    permits,
    clock,
    uploadTimeoutMs: UPLOAD_TIMEOUT_MS,
    random: () => limits.random ?? 0.5,
  });
  admission.gate = 'OPEN';
  const timeouts: RequestError[] = [];
  const begin = (): Upload => admission.beginUpload((error) => timeouts.push(error));
  return { clock, permits, admission, timeouts, begin };
}

function refusal(ask: () => unknown): RequestError {
  try {
    ask();
  } catch (error) {
    assert.ok(error instanceof RequestError, String(error));
    return error;
  }
  return assert.fail('nothing was refused');
}

describe('the gate', () => {
  test('an open gate admits calls', () => {
    const { admission } = createAdmission({ permits: 1 });
    admission.checkGate();
  });

  test('before and after that it rejects, with a retry delay', () => {
    const admission = new Admission({
      permits: new Permits(1, new FakeClock()),
      clock: new FakeClock(),
      uploadTimeoutMs: 1,
    });
    const starting = refusal(() => admission.checkGate());
    assert.deepEqual([starting.reason, starting.retryAfterMs], ['STARTING', 500]);
    admission.gate = 'DRAINING';
    const draining = refusal(() => admission.checkGate());
    assert.deepEqual([draining.reason, draining.retryAfterMs], ['DRAINING', 100]);
    assert.match(draining.message, /call another one/);
  });
});

describe('an upload', () => {
  test('becomes a permit when its body is complete', () => {
    const { admission, permits, clock, begin } = createAdmission({ permits: 1 });
    const upload = begin();
    assert.deepEqual([admission.uploads, permits.inUse], [1, 0]);
    const permit = upload.admit();
    assert.deepEqual([admission.uploads, permits.inUse, clock.timers], [0, 1, 0]);
    permit.release();
    assert.equal(permits.inUse, 0);
  });

  test('ends without one when its call has ended', () => {
    const { admission, permits, clock, begin } = createAdmission({ permits: 1 });
    const upload = begin();
    upload.end();
    upload.end();
    assert.deepEqual([admission.uploads, permits.inUse, clock.timers], [0, 0, 0]);
  });

  test('ending after it was admitted does nothing', () => {
    const { admission, permits, begin } = createAdmission({ permits: 2 });
    const [first] = [begin(), begin()];
    first.admit();
    first.end();
    assert.deepEqual([admission.uploads, permits.inUse], [1, 1]);
  });

  test('may take as long as the time limit and no longer', () => {
    const { admission, clock, timeouts, begin } = createAdmission({ permits: 1 });
    begin();
    clock.advance(UPLOAD_TIMEOUT_MS - 1);
    assert.deepEqual([admission.uploads, timeouts.length], [1, 0]);
    clock.advance(1);
    assert.equal(admission.uploads, 0);
    assert.deepEqual(
      timeouts.map(({ reason, message }) => [reason, message]),
      [['UPLOAD_TIMEOUT', 'the request did not arrive within 1000 ms']],
    );
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual([admission.uploads, timeouts.length], [0, 1]);
  });
});

describe('overload', () => {
  test('of 100 calls at once exactly as many get an upload as there are permits', () => {
    const { begin } = createAdmission({ permits: 50 });
    let admitted = 0;
    const refusals: RequestError[] = [];
    for (let call = 0; call < 100; call++) {
      try {
        begin();
        admitted++;
      } catch (error) {
        assert.ok(error instanceof RequestError);
        refusals.push(error);
      }
    }
    assert.deepEqual([admitted, refusals.length], [50, 50]);
    for (const { reason, message } of refusals) {
      assert.equal(reason, 'OVERLOADED');
      assert.equal(
        message,
        'overloaded: too many uploads are open (50 permits): retry later or on another instance',
      );
    }
  });

  test('exactly as many complete bodies get a permit as there are; the others have ended too', () => {
    const { admission, permits, begin } = createAdmission({ permits: 10 });
    const uploads = Array.from({ length: 10 }, begin);
    permits.setLimit(3);
    const admitted = uploads.slice(0, 3).map((upload) => upload.admit());
    for (const upload of uploads.slice(3)) {
      const { reason, message } = refusal(() => upload.admit());
      assert.equal(reason, 'OVERLOADED');
      assert.equal(
        message,
        'overloaded: all permits are in use (3 permits): retry later or on another instance',
      );
    }
    assert.deepEqual([admission.uploads, permits.inUse], [0, 3]);
    assert.equal(refusal(begin).reason, 'OVERLOADED');
    assert.equal(admission.uploads, 0);
    admitted[0]?.release();
    begin();
  });

  test('slow uploads hold no permits', () => {
    const { permits, begin } = createAdmission({ permits: 2 });
    begin();
    begin().admit();
    assert.equal(permits.inUse, 1);
  });

  test('the number of uploads follows the number of permits', () => {
    const clock = new FakeClock();
    const permits = new Permits(1, clock);
    const admission = new Admission({
      permits,
      clock,
      uploadTimeoutMs: 1_000,
    });
    admission.beginUpload(() => {});
    assert.equal(refusal(() => admission.beginUpload(() => {})).reason, 'OVERLOADED');
    permits.setLimit(2);
    admission.beginUpload(() => {});
  });
});

describe('the retry delay', () => {
  /** The hint after permits have been held for this long. */
  function hint(heldMs: number, random: number): number | undefined {
    const { clock, permits, begin } = createAdmission({ permits: 1, random });
    const held = begin().admit();
    clock.advance(heldMs);
    held.release();
    assert.equal(permits.meanHeldMs, heldMs);
    begin().admit();
    return refusal(begin).retryAfterMs;
  }

  test('is the time for which permits are held, spread by half to either side', () => {
    assert.deepEqual([hint(200, 0), hint(200, 0.5), hint(200, 1)], [100, 200, 300]);
  });

  test('is never below 10 ms', () => {
    assert.deepEqual([hint(0, 0.5), hint(1, 0.5), hint(21, 0)], [10, 10, 11]);
  });

  test('is never above 5 s', () => {
    assert.deepEqual([hint(4_000, 1), hint(60_000, 0), hint(60_000, 1)], [5_000, 5_000, 5_000]);
  });

  test('differs from call to call by default', () => {
    const clock = new FakeClock();
    const admission = new Admission({
      permits: new Permits(1, clock),
      clock,
      uploadTimeoutMs: 1_000,
    });
    const held = admission.permits.tryTake();
    clock.advance(1_000);
    held?.release();
    admission.permits.tryTake();
    const hints = Array.from(
      { length: 50 },
      () => refusal(() => admission.beginUpload(() => {})).retryAfterMs ?? 0,
    );
    assert.ok(new Set(hints).size > 10);
    for (const milliseconds of hints) assert.ok(milliseconds >= 500 && milliseconds <= 1_500);
  });
});

describe('a message of a stream', () => {
  test('has a place while there is one, and waits for its turn where there is none, in order', () => {
    const { admission, clock } = createAdmission({ permits: 2 });
    const turns: string[] = [];
    const begin = (name: string) =>
      admission.beginStreamUpload(
        () => turns.push(name),
        () => turns.push(`${name} is late`),
      );
    const [first, second, third, fourth, fifth] = ['1', '2', '3', '4', '5'].map(begin);
    assert.deepEqual(
      [first, second, third, fourth, fifth].map((upload) => upload?.waits),
      [false, false, true, true, true],
    );
    assert.equal(clock.timers, 2, 'a waiting message has no timer');
    fourth?.end();
    second?.end();
    second?.end();
    assert.deepEqual(turns, ['3']);
    clock.advance(UPLOAD_TIMEOUT_MS - 1);
    assert.deepEqual(turns, ['3']);
    clock.advance(1);
    assert.deepEqual(
      turns,
      ['3', '5', '1 is late', '3 is late'],
      'a place that has become free is given on',
    );
    fifth?.end();
    for (const upload of [first, third]) upload?.end();
    assert.equal(clock.timers, 0);
    assert.equal(begin('6').waits, false);
  });

  test('takes no place of unary calls', () => {
    const { admission, begin } = createAdmission({ permits: 1 });
    const upload = admission.beginStreamUpload(
      () => {},
      () => {},
    );
    assert.equal(upload.waits, false);
    begin().admit().release();
  });
});
