/** What calls hold at the door, by kind; the calls are no calls, and time is moved by hand. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import {
  Door,
  kindOf,
  MOST_OTHERS,
  MOST_STREAMS,
  OTHER_MESSAGE_BYTES,
} from '#vitserve/server/rpc/door.js';
import { FakeClock } from '../../../support/fake-clock.js';

const UPLOAD_TIMEOUT_MS = 1_000;
const MAX_IMAGE_BYTES = 1_000_000;

type Call = Parameters<Door['enter']>[1];

/** As much of a call of grpc-js as the door looks at. */
class FakeCall {
  readonly stream = Object.assign(new EventEmitter(), {
    paused: false,
    pause: () => {
      this.stream.paused = true;
    },
    resume: () => {
      this.stream.paused = false;
    },
  });
  readonly decoder = { maxReadMessageLength: MAX_IMAGE_BYTES };
  maxReceiveMessageSize = MAX_IMAGE_BYTES;
}

function createDoor({ uploads = 1 } = {}) {
  const clock = new FakeClock();
  const admission = new Admission({
    permits: new Permits(2, clock),
    clock,
    maxUploads: () => uploads,
    uploadTimeoutMs: UPLOAD_TIMEOUT_MS,
  });
  const door = new Door({
    admission,
    clock,
    maxImageBytes: MAX_IMAGE_BYTES,
    uploadTimeoutMs: UPLOAD_TIMEOUT_MS,
  });
  const refused: string[] = [];
  const enter = (kind: Parameters<Door['enter']>[0], name = kind as string, options = {}) => {
    const call = new FakeCall();
    const stay = door.enter(
      kind,
      call as unknown as Call,
      ({ reason }) => refused.push(`${name} ${reason}`),
      options,
    );
    return { call, stay };
  };
  return { clock, admission, enter, refused };
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
  test('takes an upload and leaves with a permit', () => {
    const { admission, enter, clock } = createDoor();
    const { stay, call } = enter('image');
    assert.equal(admission.uploads, 1);
    assert.equal(call.maxReceiveMessageSize, MAX_IMAGE_BYTES);
    stay.onMessage();
    const permit = stay.onComplete();
    assert.equal(admission.permits.inUse, 1);
    permit?.release();
    stay.end();
    assert.deepEqual([admission.uploads, clock.timers], [0, 0]);
  });
});

describe('a stream', () => {
  test('is timed from the first byte of each message, and not between them', () => {
    const { enter, clock, refused } = createDoor();
    const { stay, call } = enter('stream');
    clock.advance(10 * UPLOAD_TIMEOUT_MS);
    for (let message = 0; message < 3; message++) {
      call.stream.emit('data');
      clock.advance(UPLOAD_TIMEOUT_MS - 1);
      call.stream.emit('data');
      stay.onMessage();
      assert.equal(clock.timers, 0);
    }
    call.stream.emit('data');
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(refused, ['stream UPLOAD_TIMEOUT']);
    stay.end();
  });

  test('stops being read while there is no place for its message, and goes on when there is', () => {
    const { enter, clock, refused } = createDoor();
    const [first, second] = [enter('stream', 'first'), enter('stream', 'second')];
    first.call.stream.emit('data');
    second.call.stream.emit('data');
    assert.deepEqual([first.call.stream.paused, second.call.stream.paused], [false, true]);
    first.stay.onMessage();
    assert.equal(second.call.stream.paused, false);
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(refused, ['second UPLOAD_TIMEOUT']);
    second.stay.end();
    first.call.stream.emit('data');
    assert.equal(first.call.stream.paused, false);
    first.stay.end();
    first.call.stream.emit('data');
    assert.equal(clock.timers, 0, 'what comes after the end holds nothing');
  });

  test('is one of so many', () => {
    const { enter } = createDoor();
    const stays = Array.from({ length: MOST_STREAMS }, () => enter('stream').stay);
    assert.throws(() => enter('stream'), isOverloaded);
    enter('other').stay.end();
    stays[0]?.end();
    enter('stream');
  });
});

describe('any other call', () => {
  test('has a small message, and so long to send it', () => {
    const { enter, clock, refused } = createDoor();
    const { call, stay } = enter('other');
    assert.equal(call.maxReceiveMessageSize, OTHER_MESSAGE_BYTES);
    assert.equal(call.decoder.maxReadMessageLength, OTHER_MESSAGE_BYTES);
    clock.advance(UPLOAD_TIMEOUT_MS);
    assert.deepEqual(refused, ['other UPLOAD_TIMEOUT']);
    stay.end();
    const { stay: watch } = enter('other');
    watch.onMessage();
    assert.equal(clock.timers, 1, 'nothing is done before the caller has ended its side');
    watch.onComplete();
    assert.equal(clock.timers, 0, 'a Watch may stay open');
    const { stay: reflection } = enter('other', 'reflection', { hasManyMessages: true });
    reflection.onMessage();
    assert.equal(clock.timers, 0, 'what is asked over one call may stay open');
  });

  test('is one of so many', () => {
    const { enter } = createDoor();
    const stays = Array.from({ length: MOST_OTHERS }, () => enter('other').stay);
    assert.throws(() => enter('other'), isOverloaded);
    stays[0]?.end();
    enter('other');
  });
});

function isOverloaded(error: unknown): boolean {
  return (
    error instanceof RequestError && error.reason === 'OVERLOADED' && error.retryAfterMs === 1_000
  );
}
