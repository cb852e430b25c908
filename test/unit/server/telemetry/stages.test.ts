/**
 * Stages follow one another without a gap, from the headers to the status, however far the call
 * came.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ImageRecord, newImageRecord } from '#vitserve/server/telemetry/record.js';
import { stagesOfCall, stagesOfImage, timesOf } from '#vitserve/server/telemetry/stages.js';

const DECODED = { at: 130, decodeMs: 20, format: 'jpeg', decoder: 'turbojpeg' };
const EXECUTED = { at: 190, executionMs: 40, batchSize: 3 };

function record(more: Partial<ImageRecord>): ImageRecord {
  return { ...newImageRecord(105), ...more };
}

const intervals = (image: ImageRecord | null) =>
  stagesOfCall(100, image, 200).map(({ name, from, to }) => `${name} ${from}-${to}`);

describe('the stages of a call', () => {
  test('that was answered are all of them', () => {
    const image = record({ decoded: DECODED, executed: EXECUTED });
    assert.deepEqual(intervals(image), [
      'upload 100-105',
      'decode queue 105-110',
      'decode 110-130',
      'batch queue 130-150',
      'inference 150-190',
      'reply 190-200',
    ]);
    assert.deepEqual(
      stagesOfCall(100, image, 200).flatMap(({ attributes }) => Object.entries(attributes)),
      [
        ['vitserve.image.format', 'jpeg'],
        ['vitserve.decoder', 'turbojpeg'],
        ['vitserve.batch.size', 3],
      ],
    );
  });

  test('that failed end with the one that it failed in', () => {
    assert.deepEqual(intervals(null), ['upload 100-200']);
    assert.deepEqual(intervals(record({})), ['upload 100-105', 'decode 105-200']);
    assert.deepEqual(intervals(record({ decoded: DECODED })), [
      'upload 100-105',
      'decode queue 105-110',
      'decode 110-130',
      'batch queue 130-200',
    ]);
  });

  test('of an image that waited for its permit tell so', () => {
    const stages = stagesOfImage(record({ admittedAt: 112, decoded: DECODED }), 140);
    assert.deepEqual(
      stages.map(({ name, from, to }) => `${name} ${from}-${to}`),
      ['permit 105-112', 'decode queue 112-112', 'decode 112-130', 'batch queue 130-140'],
    );
  });
});

describe('the times of an image', () => {
  test('are those of an answer, as far as it came', () => {
    assert.deepEqual(timesOf(record({})), {});
    assert.deepEqual(timesOf(record({ decoded: DECODED })), { decodeMs: 20 });
    assert.deepEqual(
      timesOf(record({ decoded: DECODED, executed: { ...EXECUTED, executionMs: 40.12345 } })),
      {
        decodeMs: 20,
        queueMs: 24.877,
        inferenceMs: 40.123,
        batchSize: 3,
      },
    );
  });
});
