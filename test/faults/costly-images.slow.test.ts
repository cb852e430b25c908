/**
 * Files of a few bytes that ask for seconds of work: their structure gets them rejected, or cut
 * down to what is needed. The measure is the decoder's processor time, which other programs on the
 * machine do not change.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import sharp from 'sharp';
import { decodeLimitMs } from '#vitserve/workers/decode/decoder-pool.js';
import {
  arithmeticScan,
  arithmeticScans,
  emptyScan,
  honestScans,
  huffmanScans,
} from '../support/costly-jpegs.js';
import { emptyChunks, endlessData, pngOf, unfoldingTexts } from '../support/costly-pngs.js';
import {
  COSTLY_FORMATS,
  describeCostlyReport,
  largestCostMs,
  sendCostly,
} from '../support/costly-run.js';
import { manyChunks, manyFrames } from '../support/costly-webps.js';
import { DecoderCpu } from '../support/decoder-cpu.js';
import { CallFailure, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import { continuousLoad } from '../support/load.js';
import { ServerProcess, suiteScope } from '../support/server.js';

const LINUX = process.platform === 'linux' ? {} : { skip: 'processor time is read from /proc' };
const MEBIBYTE = 2 ** 20;
const SIDE = 7_070;
/** The honest files take seconds at this size, and are never rejected for it. */
const MOST_CPU_MS = 1_000;
const COSTLY_COUNT = 60;
const SEED = 1;

const HOSTILE: Readonly<
  Record<string, { readonly draw: () => Buffer; readonly says: RegExp | null }>
> = {
  'arithmetic coding, 45 scans of four components': {
    draw: () => arithmeticScans(SIDE, SIDE),
    says: /^the JPEG image has 45 scans with arithmetic coding; the limit for its pixels and bytes is \d+: save it again/,
  },
  'a progressive JPEG of 883 scans': {
    draw: () => huffmanScans(SIDE, SIDE, 883),
    says: /^the JPEG image has 883 scans; the limit for its pixels and bytes is \d+: save it again as a baseline JPEG$/,
  },
  'one scan of arithmetic coding with a few bytes': {
    draw: () => arithmeticScan(SIDE, SIDE),
    says: /^the JPEG image has 1 scan with arithmetic coding; the limit for its pixels and bytes is 0: save it again/,
  },
  'one scan without data': {
    draw: () => emptyScan(SIDE, SIDE),
    says: /^the JPEG image can't be decoded: \d+ bytes are too few for 7070 × 7070 pixels$/,
  },
  'an animated WebP of 50,000 frames': { draw: () => manyFrames(50_000), says: null },
  'a PNG of 900 texts that unfold to 8 MB each': { draw: () => unfoldingTexts(900), says: null },
  'a PNG of a million chunks': {
    draw: () => emptyChunks(1_000_000),
    says: /^the PNG image has more than 65536 chunks/,
  },
  'a PNG of image data without end': {
    draw: () => endlessData(2 ** 31 - 1),
    says: /^the PNG image can't be decoded: \d+ bytes of image data/,
  },
  'a WebP of a million chunks': {
    draw: () => manyChunks(1_000_000),
    says: /^the WebP image has more than 4096 chunks/,
  },
};

describe('a decoder', LINUX, () => {
  const scope = suiteScope();
  let decoder: DecoderCpu;
  before(async () => {
    decoder = await DecoderCpu.start(scope);
    // Code is compiled and libraries are loaded.
    for (const file of [await jpeg(1), pngOf({ width: 30, height: 30 }), manyFrames(2)])
      await decoder.decode(file);
  });

  for (const [what, { draw, says }] of Object.entries(HOSTILE)) {
    test(`soon finishes ${what}`, async (t) => {
      const file = draw();
      assert.ok(file.length < 16 * MEBIBYTE);
      const { reply, cpuMs } = await decoder.decode(file);
      t.diagnostic(`${file.length} bytes: ${cpuMs} ms of processor time, ${JSON.stringify(reply)}`);
      assert.deepEqual(decoder.losses, []);
      if (says === null) assert.equal(reply?.kind, 'done');
      else {
        assert.ok(reply?.kind === 'rejected');
        assert.match(reply.reason, /^IMAGE_/);
        assert.match(reply.message, says);
      }
      assert.ok(cpuMs < MOST_CPU_MS, `${cpuMs} ms`);
    });
  }

  test('still decodes the largest honest pictures', async (t) => {
    const blank = sharp({
      create: { width: 8_000, height: 6_000, channels: 4, background: '#345' },
    });
    const files = {
      'a progressive JPEG of 16 scans': honestScans(SIDE, SIDE, 16),
      'a progressive CMYK JPEG': await blank
        .clone()
        .toColourspace('cmyk')
        .jpeg({ progressive: true })
        .toBuffer(),
      'an interlaced PNG of 16 bits': pngOf({
        width: SIDE,
        height: SIDE,
        depth: 16,
        colour: 6,
        interlaced: true,
      }),
      'an interlaced PNG of one bit': pngOf({
        width: SIDE,
        height: SIDE,
        depth: 1,
        colour: 0,
        interlaced: true,
      }),
    };
    for (const [what, file] of Object.entries(files)) {
      const { reply, cpuMs } = await decoder.decode(file);
      t.diagnostic(`${what}, ${file.length} bytes: ${cpuMs} ms of processor time`);
      assert.equal(reply?.kind, 'done', `${what}: ${JSON.stringify(reply)}`);
    }
    assert.deepEqual(decoder.losses, []);
  });

  test('has more processor time than any file within the limits may take', () => {
    for (const maxImagePixels of [10_000, 1_000_000, 50_000_000, 1_000_000_000]) {
      for (const maxImageBytes of [1_024, 2 ** 20, 2 ** 24, 2 ** 30]) {
        const limitMs = decodeLimitMs({ maxImagePixels, maxImageBytes });
        const costMs = largestCostMs(maxImagePixels, maxImageBytes);
        assert.ok(limitMs > 1.2 * costMs, `${limitMs} ms, and a file may take ${costMs}`);
      }
    }
  });

  test('gives up an image that takes more processor time than it may, and says that it was this', async (t) => {
    const short = await DecoderCpu.start(t, { limitMs: 100 });
    const { reply } = await short.decode(
      pngOf({ width: SIDE, height: SIDE, depth: 16, colour: 6, interlaced: true }),
    );
    assert.equal(reply, null);
    assert.match(short.losses.join(), /^cpu: no answer within 100 ms of processor time$/);
  });

  for (const format of COSTLY_FORMATS) {
    test(`keeps its time limits with ${format} files made to take long`, async (t) => {
      const report = await sendCostly(t, format, { count: COSTLY_COUNT, seed: SEED });
      t.diagnostic(describeCostlyReport(report));
      assert.deepEqual(report.problems, []);
      assert.ok(report.answered > 0 && report.answered < COSTLY_COUNT);
    });
  }
});

describe('a server', LINUX, () => {
  const scope = suiteScope();

  test('answers all other callers beside four senders of such files, without a loss', async (t) => {
    const server = await ServerProcess.start(scope, [
      '--execution-provider',
      'simulated:1:0.1',
      '--decoder-processes',
      '2',
      '--inference-processes',
      '1',
      '--permits',
      '64',
    ]);
    const client = new PlainClient(scope, server.address);
    const good = await jpeg(1);
    const { predictions: expected } = await client.classify({ image: good });
    const hostile = [
      arithmeticScans(SIDE, SIDE),
      huffmanScans(SIDE, SIDE, 883),
      manyFrames(50_000),
    ];
    const reasons: Record<string, number> = {};
    const senders = continuousLoad(4, async (index) => {
      const outcome = await outcomeOf(
        client.classify({ image: hostile[index % hostile.length] as Buffer }),
      );
      const reason = outcome instanceof CallFailure ? String(outcome.reason) : 'answered';
      reasons[reason] = (reasons[reason] ?? 0) + 1;
    });
    for (let call = 0; call < 200; call++) {
      assert.deepEqual((await client.classify({ image: good })).predictions, expected);
    }
    await senders.stop();
    t.diagnostic(`beside 200 good calls: ${JSON.stringify(reasons)}`);
    assert.deepEqual(Object.keys(reasons).sort(), ['IMAGE_TOO_LARGE', 'answered']);
    assert.equal(await server.metric('vitserve_process_losses_total'), 0);
    assert.equal(await server.metric('vitserve_quarantined_images_total'), 0);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });
});
