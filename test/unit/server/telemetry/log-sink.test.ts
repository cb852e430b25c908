/** The log sink, with outputs that are full, broken, slow, and well again. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLogger } from '#vitserve/server/telemetry/log.js';
import { LogSink, MOST_WAITING_BYTES } from '#vitserve/server/telemetry/log-sink.js';
import type { WriteBytes } from '#vitserve/system/output.js';
import { FakeClock } from '../../../support/fake-clock.js';

const LONG_MS = 60_000;
const FULL = 'EAGAIN';

/** An output that takes so many bytes a write, or fails; changed by the test. */
class Output {
  taken = '';
  writes = 0;
  takes = Number.POSITIVE_INFINITY;
  failure: string | null = null;

  readonly write: WriteBytes = (bytes, done) => {
    this.writes++;
    if (this.failure !== null) {
      done(Object.assign(new Error(this.failure), { code: this.failure }), 0);
      return;
    }
    const part = bytes.subarray(0, this.takes);
    this.taken += part.toString();
    done(null, part.length);
  };

  get lines(): string[] {
    return this.taken.split('\n').slice(0, -1);
  }
}

function sinkOf(write: WriteBytes, gatherMs = 0) {
  const clock = new FakeClock();
  return { clock, sink: new LogSink({ write, gatherMs }, clock) };
}

/** More lines than may wait, each with its number. Returns how many. */
function overfill(sink: LogSink): number {
  const filler = 'x'.repeat(990);
  const count = Math.ceil(MOST_WAITING_BYTES / 990) + 100;
  for (let at = 0; at < count; at++) sink.write(`${at} ${filler}\n`);
  return count;
}

const total = (sink: LogSink) => Object.values(sink.dropped).reduce((sum, count) => sum + count, 0);

describe('the log’s sink', () => {
  test('writes a line at once where the output takes it', () => {
    const output = new Output();
    const { sink, clock } = sinkOf(output.write);
    sink.write('one\n');
    sink.write('zwölf\n');
    assert.deepEqual([output.taken, output.writes, clock.timers], ['one\nzwölf\n', 2, 0]);
  });

  test('lines that are taken in parts arrive whole and in order', () => {
    const output = new Output();
    output.takes = 3;
    const { sink } = sinkOf(output.write);
    for (let at = 0; at < 100; at++) sink.write(`line ${at}\n`);
    assert.deepEqual(
      output.lines,
      Array.from({ length: 100 }, (_, at) => `line ${at}`),
    );
  });

  test('a full output is retried, rarely, and gets everything that waited', () => {
    const output = new Output();
    output.failure = FULL;
    const { sink, clock } = sinkOf(output.write);
    for (let at = 0; at < 1_000; at++) sink.write(`${at}\n`);
    assert.equal(output.writes, 1, 'lines that wait are no further attempts');
    clock.advance(LONG_MS);
    assert.ok(output.writes < 400, `${output.writes} attempts in a minute`);
    output.failure = null;
    clock.advance(1_000);
    assert.deepEqual([output.lines.length, total(sink), clock.timers], [1_000, 0, 0]);
  });

  for (const [code, cause] of [
    [FULL, 'unread'],
    ['ENOSPC', 'no_space'],
    ['EDQUOT', 'no_space'],
    ['EPIPE', 'closed'],
    ['EIO', 'error'],
  ] as const) {
    test(`${code} for a minute costs the lines beyond what may wait, and the log says so afterwards`, () => {
      const output = new Output();
      const { sink, clock } = sinkOf(output.write);
      const told: [string, number][] = [];
      sink.onRoomAgain((dropped) => {
        told.push(...dropped);
        sink.write('lines were dropped\n');
      });
      output.failure = code;
      const written = overfill(sink);
      clock.advance(LONG_MS);
      const dropped = total(sink);
      assert.ok(dropped >= 100 && dropped < written, `${dropped} of ${written}`);
      assert.deepEqual([sink.dropped[cause], told], [dropped, []]);

      output.failure = null;
      clock.advance(1_000);
      sink.write('after\n');
      const kept = Array.from({ length: written - dropped }, (_, at) => String(at));
      assert.deepEqual(
        output.lines.map((line) => line.replace(/ x+$/, '')),
        [...kept, 'lines were dropped', 'after'],
      );
      assert.deepEqual([told, total(sink)], [[[cause, dropped]], dropped]);
    });
  }

  test('where the disk is full in the middle of a line, its rest follows when there is room', () => {
    const output = new Output();
    const { sink, clock } = sinkOf((bytes, done) => {
      output.write(bytes, (error, written) => {
        output.failure = written === 5 ? 'ENOSPC' : output.failure;
        done(error, written);
      });
    });
    output.takes = 5;
    sink.write('first line\n');
    assert.equal(output.taken, 'first');
    sink.write('second line\n');
    output.failure = null;
    output.takes = Number.POSITIVE_INFINITY;
    clock.advance(1_000);
    assert.deepEqual(output.lines, ['first line', 'second line']);
  });

  test('one write at a time, where writes take long; lines meanwhile go together', () => {
    const given: string[] = [];
    let finish = () => {};
    const { sink } = sinkOf((bytes, done) => {
      given.push(bytes.toString());
      finish = () => done(null, bytes.length);
    });
    for (const line of ['a\n', 'b\n', 'c\n']) sink.write(line);
    assert.deepEqual(given, ['a\n']);
    finish();
    assert.deepEqual(given, ['a\n', 'b\nc\n']);
  });

  test('where writes are expensive, lines are gathered for a moment, and flush does not wait for it', async () => {
    const output = new Output();
    const { sink, clock } = sinkOf(output.write, 10);
    sink.write('a\n');
    clock.advance(9);
    sink.write('b\n');
    assert.equal(output.writes, 0);
    clock.advance(1);
    assert.deepEqual([output.writes, output.lines, clock.timers], [1, ['a', 'b'], 0]);
    sink.write('c\n');
    assert.equal(await sink.flush(LONG_MS), true);
    assert.deepEqual([output.writes, output.lines, clock.timers], [2, ['a', 'b', 'c'], 0]);
  });

  test('flush resolves when the last write is done', async () => {
    let finish = () => {};
    const { sink } = sinkOf((bytes, done) => {
      finish = () => done(null, bytes.length);
    });
    assert.equal(await sink.flush(LONG_MS), true, 'nothing has been written');
    sink.write('a\n');
    let isEmpty: boolean | null = null;
    const flushed = sink.flush(LONG_MS).then((result) => {
      isEmpty = result;
    });
    await Promise.resolve();
    assert.equal(isEmpty, null);
    finish();
    await flushed;
    assert.equal(isEmpty, true);
  });

  test('flush tries once more at once, gives up on a broken output, and on a full one when the time is over', async () => {
    const output = new Output();
    const { sink } = sinkOf(output.write);
    output.failure = 'ENOSPC';
    sink.write('a\n');
    assert.equal(await sink.flush(LONG_MS), false);
    assert.equal(output.writes, 2);
    output.failure = FULL;
    assert.equal(await sink.flush(1), false);
    output.failure = null;
    assert.equal(await sink.flush(LONG_MS), true);
    assert.equal(output.taken, 'a\n');
  });

  for (const format of ['json', 'pretty'] as const) {
    test(`the ${format} log tells how many lines are missing, and log.fatal waits for nothing`, () => {
      const output = new Output();
      const { sink, clock } = sinkOf(output.write);
      const log = createLogger('info', format, false, sink);
      output.failure = 'ENOSPC';
      for (let at = 0; at < 20_000; at++) log.info({ at, filler: 'x'.repeat(50) }, 'line');
      log.fatal('the last words');
      const dropped = total(sink);
      assert.ok(dropped > 0);
      output.failure = null;
      clock.advance(1_000);
      const last = output.lines.at(-1) ?? '';
      assert.match(last, /log lines were dropped/);
      assert.match(last, new RegExp(`"lines":${dropped}\\b.*"cause":"no_space"`));
    });
  }
});
