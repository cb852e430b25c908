/**
 * What calls hold, by kind and state, and when they give it back. The test plays the inside of
 * grpc-js and moves time by hand.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status as grpcStatus, Metadata } from '@grpc/grpc-js';
import { RequestError } from '#vitserve/errors.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import { RejectionThrottle } from '#vitserve/server/admission/rejection-throttle.js';
import {
  type AdmittedImage,
  Call,
  type CallContext,
  type CallKind,
  kindOf,
  MOST_OTHERS,
  MOST_STREAMS,
  OpenCalls,
  OTHER_MESSAGE_BYTES,
} from '#vitserve/server/rpc/call.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeInner, MAX_IMAGE_BYTES } from '../../../support/fake-inner.js';
import { settled } from '../../../support/fake-worker.js';

const UPLOAD_TIMEOUT_MS = 1_000;
const TOKEN = 'the server itself';

const OF_KIND: Readonly<Record<CallKind, string>> = {
  image: 'Classify',
  stream: 'ClassifyStream',
  other: 'GetModel',
};

function createStand({ permits: limit = 2, gate = 'OPEN' as Admission['gate'] } = {}) {
  const clock = new FakeClock(5_000);
  const permits = new Permits(limit, clock);
  const admission = new Admission({ permits, clock, uploadTimeoutMs: UPLOAD_TIMEOUT_MS });
  admission.gate = gate;
  const ended: string[] = [];
  const faults: unknown[] = [];
  const open = new OpenCalls();
  const context: CallContext = {
    engine: { permits, admission, checkDeadline: () => {} },
    clock,
    report: (event) => {
      if (event.kind === 'call-failed') faults.push(event.cause);
      if (event.kind === 'call-ended')
        ended.push(`${event.call.method} ${event.code} ${event.reason ?? ''}`.trim());
    },
    throttle: new RejectionThrottle({ clock, imagesPerSecond: () => 8, report: () => {} }),
    maxImageBytes: MAX_IMAGE_BYTES,
    uploadTimeoutMs: UPLOAD_TIMEOUT_MS,
    warmUpToken: TOKEN,
    authenticate: () => {},
    open,
  };
  const begin = (
    kind: CallKind,
    {
      requestStream = kind === 'stream',
      metadata = new Metadata(),
      leftMs = Number.POSITIVE_INFINITY,
    } = {},
  ) => {
    const inner = new FakeInner(leftMs);
    const path = `/vitserve.v1.ClassificationService/${OF_KIND[kind]}`;
    const call = new Call(context, { path, requestStream }, inner.asInner);
    const goesOn = call.onHeaders(metadata);
    return { inner, call, goesOn, metadata };
  };
  /** A unary image that has arrived, and whose handler works until the test ends it. */
  const beginWork = () => {
    const { inner, call } = begin('image');
    let finish: (error?: Error) => void = () => {};
    let image: AdmittedImage | null = null;
    const replies: unknown[] = [];
    call.onMessage({});
    call.onHalfClose(() =>
      call.answer<string>(
        (error, response) => replies.push(error ?? response),
        (admitted) => {
          image = admitted;
          return new Promise((resolve, reject) => {
            finish = (error) => (error === undefined ? resolve('answer') : reject(error));
          });
        },
      ),
    );
    return {
      inner,
      call,
      replies,
      image: image as AdmittedImage | null,
      finish: async (error?: Error) => {
        finish(error);
        await settled();
      },
    };
  };
  return { clock, permits, admission, ended, faults, open, begin, beginWork };
}

test('a call is of the kind that its path says', () => {
  const service = '/vitserve.v1.ClassificationService';
  assert.deepEqual(
    ['Classify', 'Embed', 'ClassifyStream', 'GetModel', 'classify'].map((method) =>
      kindOf(`${service}/${method}`),
    ),
    ['image', 'image', 'stream', 'other', 'other'],
  );
  assert.equal(kindOf('/grpc.health.v1.Health/Check'), 'other');
});

describe('a unary image', () => {
  test('takes an upload, which becomes a permit, which it gives back before it replies', async () => {
    const { admission, permits, clock, beginWork } = createStand();
    const { image, replies, finish } = beginWork();
    assert.deepEqual([admission.uploads, permits.inUse], [0, 1]);
    assert.ok(image?.slot === 0 && image.record.cameAt === 5_000 && !image.ofStream);
    await finish();
    assert.deepEqual(replies, ['answer']);
    assert.deepEqual([admission.uploads, permits.inUse, clock.timers], [0, 0, 0]);
  });

  test('gives its upload back when it is cancelled within its body', () => {
    const { admission, clock, ended, open, begin } = createStand();
    const { call } = begin('image');
    assert.equal(admission.uploads, 1);
    call.onCancel();
    assert.deepEqual([admission.uploads, clock.timers, open.size], [0, 0, 0]);
    assert.deepEqual(ended, ['Classify CANCELLED CANCELLED']);
  });

  test('that is cancelled during the work keeps its permit until the work has settled', async () => {
    const { permits, ended, beginWork } = createStand();
    const { call, image, replies, finish } = beginWork();
    call.onCancel();
    assert.ok(image?.signal.aborted && image.signal.reason.reason === 'CANCELLED');
    assert.equal(permits.inUse, 1, 'processes may write into its slot');
    await finish(image.signal.reason);
    assert.equal(permits.inUse, 0);
    assert.deepEqual([replies, ended], [[], ['Classify CANCELLED CANCELLED']]);
  });

  test('that is aborted gets the error, and keeps its permit until the work has settled', async () => {
    const { permits, ended, beginWork } = createStand();
    const { call, inner, replies, finish } = beginWork();
    call.abort(new RequestError('DRAINING', 'over'));
    assert.deepEqual(inner.statuses, ['UNAVAILABLE']);
    assert.equal(permits.inUse, 1);
    await finish();
    assert.equal(permits.inUse, 0);
    assert.deepEqual([replies, ended], [[], ['Classify UNAVAILABLE DRAINING']]);
  });

  test('whose work fails after it was cancelled leaves the cause in the log', async () => {
    const { faults, beginWork } = createStand();
    const { call, replies, finish } = beginWork();
    call.onCancel();
    const cause = new Error('a fault of the server');
    await finish(cause);
    assert.deepEqual([faults, replies], [[cause], []]);
  });

  test('keeps its deadline when the wall clock is set', (t) => {
    const { begin, clock, ended } = createStand();
    const wall = Date.now();
    const { call } = begin('image', { leftMs: 1_000 });
    t.mock.method(Date, 'now', () => wall + 3_600_000);
    assert.ok(Math.abs(call.expiresAt - clock.now() - 1_000) < 100);
    call.onCancel();
    assert.deepEqual(ended, ['Classify CANCELLED CANCELLED']);
  });

  test('whose deadline grpc-js answers is aborted with DEADLINE_EXCEEDED', async () => {
    const { beginWork, permits, ended } = createStand();
    const { inner, image, finish } = beginWork();
    inner.sendStatus({ code: grpcStatus.DEADLINE_EXCEEDED });
    assert.equal(image?.signal.reason.reason, 'DEADLINE_EXCEEDED');
    await finish(image.signal.reason);
    assert.equal(permits.inUse, 0);
    assert.deepEqual(ended, ['Classify DEADLINE_EXCEEDED DEADLINE_EXCEEDED']);
  });

  test('gives its permit back where grpc-js finds no message to call the handler with', () => {
    const { permits, begin } = createStand();
    const { call } = begin('image');
    call.onMessage({});
    call.onHalfClose(() => {});
    assert.equal(permits.inUse, 0);
  });

  test('that takes too long to arrive ends, and holds nothing', () => {
    const { admission, clock, ended, begin } = createStand();
    begin('image');
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.equal(admission.uploads, 0);
    assert.deepEqual(ended, ['Classify DEADLINE_EXCEEDED UPLOAD_TIMEOUT']);
  });

  test('for which there is no upload is rejected at its headers', () => {
    const { ended, begin } = createStand({ permits: 1 });
    begin('image');
    const { goesOn, inner } = begin('image');
    assert.equal(goesOn, false);
    assert.deepEqual(inner.statuses, ['RESOURCE_EXHAUSTED']);
    assert.deepEqual(ended, ['Classify RESOURCE_EXHAUSTED OVERLOADED']);
  });

  test('is admitted while the server is starting only with the warm-up token', () => {
    const { begin } = createStand({ gate: 'STARTING' });
    const own = new Metadata();
    own.set('vitserve-warm-up', TOKEN);
    assert.deepEqual(
      [own, new Metadata()].map((metadata) => begin('image', { metadata }).goesOn),
      [true, false],
    );
  });
});

describe('a stream', () => {
  test('is timed from the first byte of each message, and not between them', () => {
    const { clock, ended, begin } = createStand();
    const { call, inner } = begin('stream');
    clock.advance(10 * UPLOAD_TIMEOUT_MS);
    for (let message = 0; message < 3; message++) {
      inner.stream.emit('data');
      clock.advance(UPLOAD_TIMEOUT_MS - 1);
      inner.stream.emit('data');
      call.onMessage({});
      assert.equal(clock.timers, 0);
    }
    inner.stream.emit('data');
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(ended, ['ClassifyStream DEADLINE_EXCEEDED UPLOAD_TIMEOUT']);
  });

  test('stops being read while there is no place for its message, and goes on when there is', () => {
    const { clock, ended, begin } = createStand({ permits: 1 });
    const [first, second] = [begin('stream'), begin('stream')];
    first.inner.stream.emit('data');
    second.inner.stream.emit('data');
    assert.deepEqual([first.inner.stream.paused, second.inner.stream.paused], [false, true]);
    first.call.onMessage({});
    assert.equal(second.inner.stream.paused, false);
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(ended, ['ClassifyStream DEADLINE_EXCEEDED UPLOAD_TIMEOUT']);
    first.call.onCancel();
    first.inner.stream.emit('data');
    assert.equal(clock.timers, 0, 'what comes after the end holds nothing');
  });

  test('is one of so many', () => {
    const { begin } = createStand();
    const streams = Array.from({ length: MOST_STREAMS }, () => begin('stream'));
    assert.deepEqual(begin('stream').inner.statuses, ['RESOURCE_EXHAUSTED']);
    assert.equal(begin('other').goesOn, true);
    streams[0]?.call.onCancel();
    assert.equal(begin('stream').goesOn, true);
  });
});

describe('any other call', () => {
  test('has a small message, and so long to send it', () => {
    const { clock, ended, begin } = createStand();
    const { inner } = begin('other');
    assert.equal(inner.maxReceiveMessageSize, OTHER_MESSAGE_BYTES);
    assert.equal(inner.decoder.maxReadMessageLength, OTHER_MESSAGE_BYTES);
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(ended, ['GetModel DEADLINE_EXCEEDED UPLOAD_TIMEOUT']);
    const { call: watch } = begin('other');
    watch.onMessage({});
    assert.equal(clock.timers, 1, 'nothing is done before the caller has ended its side');
    watch.onHalfClose(() => {});
    assert.equal(clock.timers, 0, 'a Watch may stay open');
    const { call: reflection } = begin('other', { requestStream: true });
    reflection.onMessage({});
    assert.equal(clock.timers, 0, 'what is asked over one call may stay open');
  });

  test('is one of so many', () => {
    const { begin } = createStand();
    const others = Array.from({ length: MOST_OTHERS }, () => begin('other'));
    assert.deepEqual(begin('other').inner.statuses, ['RESOURCE_EXHAUSTED']);
    others[0]?.call.onCancel();
    assert.equal(begin('other').goesOn, true);
  });
});

test('a call records one status, and counts as open until then', () => {
  const { ended, open, begin } = createStand();
  const { call, metadata } = begin('other');
  assert.equal(Call.of({ metadata }), call);
  assert.deepEqual([...open], [call]);
  call.reject(new RequestError('MODEL_UNKNOWN', 'no'));
  call.onCancel();
  assert.deepEqual(ended, ['GetModel NOT_FOUND MODEL_UNKNOWN']);
  assert.equal(open.size, 0);
});
