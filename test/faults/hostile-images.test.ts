/**
 * Images made to hurt, beside good ones: each fails alone, and the good ones are answered as
 * without them.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import sharp from 'sharp';
import {
  CallFailure,
  type ClassifyResponse,
  outcomeOf,
  PlainClient,
} from '../support/grpc-client.js';
import {
  corruptPng,
  exactPng,
  filesIn,
  GIF,
  garbage,
  jpeg,
  SVG,
  sharedData,
  TEXT,
  truncated,
} from '../support/images.js';
import { underLoad } from '../support/load.js';
import { ON_CPU, ServerProcess, suiteScope } from '../support/server.js';

const CALLERS = 16;
const BAD_REASONS = ['IMAGE_EMPTY', 'IMAGE_UNSUPPORTED', 'IMAGE_UNDECODABLE', 'IMAGE_TOO_LARGE'];
const ODD = sharedData('odd');

/** A PNG that claims 60,000 × 60,000 pixels in a few hundred bytes. */
async function headerBomb(): Promise<Buffer> {
  const { file } = await exactPng(1);
  file.writeUInt32BE(60_000, 16);
  file.writeUInt32BE(60_000, 20);
  return file;
}

describe('bad images beside good ones', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let good: Buffer[];
  let expected: ClassifyResponse[];

  before(async () => {
    const flags = ['--decoder-processes', '2', '--inference-processes', '2', '--permits', '64'];
    server = await ServerProcess.start(scope, [...ON_CPU, ...flags]);
    client = new PlainClient(scope, server.address);
    good = await Promise.all(Array.from({ length: 6 }, (_, seed) => jpeg(seed)));
    expected = [];
    for (const image of good) expected.push(await client.classify({ image }));
  });

  /** Every bad image once, each between good ones. Resolves with the outcomes of the bad ones. */
  const mix = async (bad: readonly Buffer[]) => {
    let right = 0;
    const outcomes = await underLoad(CALLERS, 2 * bad.length, async (index) => {
      if (index % 2 === 1)
        return await outcomeOf(client.classify({ image: bad[(index - 1) / 2] as Buffer }));
      const at = (index / 2) % good.length;
      const { predictions } = await client.classify({ image: good[at] as Buffer });
      assert.deepEqual(predictions, expected[at]?.predictions);
      right++;
      return null;
    });
    assert.equal(right, bad.length);
    return outcomes.filter((outcome) => outcome !== null);
  };

  test('files drawn to break decoders fail alone, with a reason, and cost no process', async () => {
    const photo = await jpeg(1);
    const { file: png } = await exactPng(2);
    const big = await sharp({
      create: { width: 9_000, height: 9_000, channels: 3, background: '#fff' },
    })
      .png()
      .toBuffer();
    const bad = [TEXT, GIF, SVG, Buffer.alloc(0), await headerBomb(), big, corruptPng(png)];
    for (const part of [0.1, 0.3, 0.6, 0.9]) bad.push(truncated(photo, part), truncated(png, part));
    for (let seed = 0; seed < 40; seed++) bad.push(garbage(seed, seed % 2 === 0 ? 'jpeg' : 'png'));
    for (const outcome of await mix(bad)) {
      assert(outcome instanceof CallFailure, JSON.stringify(outcome));
      assert.equal(outcome.code, 'INVALID_ARGUMENT', outcome.message);
      assert(BAD_REASONS.includes(outcome.reason ?? ''), `${outcome.reason}: ${outcome.message}`);
      assert.equal(outcome.field, 'image');
    }
    assert.equal(await server.metric('vitserve_process_losses_total'), 0);
    await server.metricIs('vitserve_permits_in_use', {}, 0);
  });

  const absent = ODD === null ? { skip: 'no ../shared/data/odd beside the repository' } : {};
  test(
    'real odd, malformed and rejected files are answered or rejected, never with INTERNAL',
    absent,
    async (t) => {
      const files = filesIn(ODD ?? '').filter(({ bytes }) => bytes.length <= 16 * 2 ** 20);
      assert(files.length > 0);
      const outcomes = await mix(files.map(({ bytes }) => bytes));
      let refused = 0;
      outcomes.forEach((outcome, at) => {
        if (!(outcome instanceof CallFailure)) return;
        refused++;
        assert.equal(outcome.code, 'INVALID_ARGUMENT', `${files[at]?.name}: ${outcome.message}`);
      });
      assert.equal(await server.metric('vitserve_process_losses_total'), 0);
      t.diagnostic(`${files.length} files, ${refused} refused`);
    },
  );

  test(
    'each of them is finished within two seconds, and its memory is given back',
    absent,
    async (t) => {
      const files = filesIn(ODD ?? '').filter(({ bytes }) => bytes.length <= 16 * 2 ** 20);
      const resident = async () => ({
        decoders:
          (await server.metric('vitserve_process_resident_memory_bytes', { role: 'decoder' })) /
          2 ** 20,
        all:
          ((await server.metric('vitserve_process_resident_memory_bytes')) +
            (await server.metric('process_resident_memory_bytes'))) /
          2 ** 20,
      });
      const ordinary = async () => {
        for (let call = 0; call < 20; call++)
          await client.classify({ image: good[call % good.length] as Buffer });
      };
      await ordinary();
      const before = await resident();
      let slowest = { ms: 0, name: '' };
      for (const { name, bytes } of files) {
        const since = performance.now();
        await outcomeOf(client.classify({ image: bytes }));
        const ms = performance.now() - since;
        if (ms > slowest.ms) slowest = { ms, name };
      }
      await ordinary();
      const after = await resident();
      const more = {
        decoders: Math.round(after.decoders - before.decoders),
        all: Math.round(after.all - before.all),
      };
      t.diagnostic(
        `slowest: ${slowest.name}, ${Math.round(slowest.ms)} ms; MiB more than before: ${JSON.stringify(more)}`,
      );
      assert.ok(slowest.ms <= 2_000, `${slowest.name} took ${slowest.ms} ms`);
      assert.ok(more.decoders <= 50, `the decoders hold ${more.decoders} MiB more than before`);
      assert.equal(await server.metric('vitserve_process_losses_total'), 0);
    },
  );
});
