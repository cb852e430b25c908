/** Which images are remembered, for how long, and which are not. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import {
  MOST_REMEMBERED,
  Quarantine,
  REMEMBERED_MS,
} from '#vitserve/server/scheduling/quarantine.js';
import { FakeClock } from '../../../support/fake-clock.js';

const imageOf = (text: string) => Buffer.from(text);
const POISON = imageOf('poison');
const isQuarantined = (error: unknown) =>
  error instanceof RequestError && error.reason === 'IMAGE_QUARANTINED';

function stand() {
  const clock = new FakeClock(5_000);
  const found: [string, number][] = [];
  const list = new Quarantine(clock, (...about) => found.push(about));
  return {
    clock,
    found,
    list,
    refuses: (image: Buffer) => assert.throws(() => list.check(image), isQuarantined),
  };
}

describe('a quarantine', () => {
  test('rejects an image from the second loss on, by its bytes and nothing else', () => {
    const { list, refuses, found } = stand();
    assert.equal(list.suspect(POISON), null);
    list.check(POISON);
    assert.ok(isQuarantined(list.suspect(POISON)));
    refuses(POISON);
    refuses(Buffer.from(POISON));
    list.check(imageOf('poisoN'));
    list.check(imageOf('longer than it'));
    const sha256 = createHash('sha256').update(POISON).digest('hex');
    assert.deepEqual(found, [[sha256, POISON.length]]);
  });

  test('forgets after ten minutes, counted from the last loss', () => {
    const { list, clock, refuses } = stand();
    list.suspect(POISON);
    clock.advance(REMEMBERED_MS - 1);
    list.suspect(POISON);
    clock.advance(REMEMBERED_MS - 1);
    refuses(POISON);
    clock.advance(1);
    list.check(POISON);
    assert.equal(list.size, 0);
    assert.equal(list.suspect(POISON), null, 'it begins again with nothing held against it');
  });

  test('forgets an image that a process finished', () => {
    const { list } = stand();
    list.suspect(POISON);
    list.clear(POISON);
    assert.equal(list.size, 0);
    assert.equal(list.suspect(POISON), null);
  });

  test('remembers one image when another is finished', () => {
    const { list } = stand();
    list.suspect(POISON);
    list.clear(imageOf('poisoN'));
    assert.ok(isQuarantined(list.suspect(POISON)));
  });

  test('quarantines no further image where processes finish none', () => {
    const { list, found, refuses } = stand();
    list.suspect(POISON);
    list.suspect(POISON);
    const innocent = imageOf('innocent');
    for (let loss = 0; loss < 5; loss++) assert.equal(list.suspect(innocent), null);
    list.check(innocent);
    assert.equal(found.length, 1);
    list.clear(imageOf('any other'));
    assert.ok(isQuarantined(list.suspect(innocent)), 'now it is this image again');
    refuses(POISON);
  });

  test('quarantines an image that used up a process’s time at once, says so, and still quarantines others', () => {
    const { list, found } = stand();
    const innocent = imageOf('innocent');
    for (const image of [POISON, imageOf('another')]) {
      const rejection = list.suspect(image, true);
      assert.ok(isQuarantined(rejection));
      assert.match(String(rejection?.message), /takes more processor time than allowed/);
      assert.throws(() => list.check(image), { message: rejection?.message });
    }
    assert.equal(found.length, 2);
    assert.equal(list.suspect(innocent), null);
    assert.ok(isQuarantined(list.suspect(innocent)), 'processes are trusted as before');
  });

  test('holds no more than a thousand, and forgets the oldest first', () => {
    const { list, refuses } = stand();
    for (let image = 0; image < MOST_REMEMBERED + 10; image++) {
      list.clear(imageOf('good'));
      list.suspect(imageOf(`image ${image}`));
      list.suspect(imageOf(`image ${image}`));
    }
    assert.equal(list.size, MOST_REMEMBERED);
    list.check(imageOf('image 9'));
    refuses(imageOf('image 10'));
    refuses(imageOf(`image ${MOST_REMEMBERED + 9}`));
  });
});
