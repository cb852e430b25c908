/**
 * Images that end the process that works on them, against a real server: such an image costs two
 * processes and no more, its caller is told that it is the image, and everybody else is answered.
 * That one which uses up its processor time costs one process is seen in
 * `costly-images.slow.test.ts` and in the unit test of the quarantine: no file within the limits
 * takes so long.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, type TestContext, test } from 'node:test';
import koffi from 'koffi';
import sharp from 'sharp';
import { CallFailure, failureOf, outcomeOf, PlainClient } from '../support/grpc-client.js';
import { plainPng } from '../support/images.js';
import {
  type Child,
  eventually,
  processState,
  type Role,
  ServerProcess,
} from '../support/server.js';

const LINUX = process.platform === 'linux' ? {} : { skip: 'only Linux can do it' };

const NOISE = { type: 'gaussian', mean: 128, sigma: 20 } as const;

let large: Buffer;
before(async () => {
  // 36 million pixels in 3 million bytes: long to decode, and legitimate.
  large = await sharp({
    create: { width: 6_000, height: 6_000, channels: 3, background: '#123', noise: NOISE },
  })
    .jpeg({ quality: 20, progressive: true })
    .toBuffer();
});

async function start(
  t: TestContext,
  { decoders = 1, simulated = '1:0.1', flags = [] as readonly string[] } = {},
) {
  const processes = [
    '--decoder-processes',
    String(decoders),
    '--inference-processes',
    '1',
    '--permits',
    '16',
  ];
  const server = await ServerProcess.start(t, [
    '--execution-provider',
    `simulated:${simulated}`,
    ...processes,
    ...flags,
  ]);
  return { server, client: new PlainClient(t, server.address) };
}

/** The next ready process of a role that is not known yet; from then on it is. */
async function nextProcess(server: ServerProcess, role: Role, known: Set<number>): Promise<Child> {
  const child = await eventually(`another ${role} process`, () =>
    server.children(role).find(({ pid }) => !known.has(pid)),
  );
  known.add(child.pid);
  return child;
}

async function isQuarantined(client: PlainClient, image: Buffer): Promise<void> {
  const { code, reason, field } = await failureOf(client.embed({ image }));
  assert.deepEqual([code, reason, field], ['INVALID_ARGUMENT', 'IMAGE_QUARANTINED', 'image']);
}

/**
 * What must hold once an image is quarantined: it is rejected at no cost, and others are answered.
 */
async function holdsFrom(
  server: ServerProcess,
  client: PlainClient,
  role: Role,
  image: Buffer,
): Promise<number> {
  const losses = async () => await server.metric('vitserve_process_losses_total', { role });
  assert.equal(await losses(), 2);
  const stage = role === 'decoder' ? 'decode' : 'batch';
  assert.equal(await server.metric('vitserve_quarantined_images_total', { stage }), 1);
  const { bytes, sha256 } = await server.logged('quarantined image');
  assert.equal(bytes, image.length);
  assert.match(String(sha256), /^[0-9a-f]{64}$/);
  const since = performance.now();
  await isQuarantined(client, image);
  const refusedMs = performance.now() - since;
  assert.deepEqual((await client.embed({ image: await plainPng([7, 8, 9]) })).embedding, [7, 8, 9]);
  assert.equal(await losses(), 2);
  await server.metricIs('vitserve_permits_in_use', {}, 0);
  return refusedMs;
}

describe('an image that', LINUX, () => {
  test('takes more memory than a decoder may is quarantined, and not taken for damaged', async (t) => {
    const { server, client } = await start(t, { decoders: 2 });
    for (const { pid } of server.children('decoder')) limitMemory(pid);
    const outcome = outcomeOf(client.embed({ image: large }));
    const failure = await outcome;
    assert.ok(failure instanceof CallFailure);
    assert.equal(failure.reason, 'IMAGE_QUARANTINED', failure.message);
    await holdsFrom(server, client, 'decoder', large);
  });

  for (const role of ['decoder', 'inference'] as const) {
    test(`crashes every ${role} process (SIGSEGV) is quarantined after two`, async (t) => {
      // Half a second of execution is time enough.
      const { server, client } = await start(t, {
        simulated: role === 'decoder' ? '1:0.1' : '1:500',
      });
      const image = role === 'decoder' ? large : await plainPng([1, 2, 3]);
      const decodes = async () => await server.metric('vitserve_decode_duration_seconds_count');
      const decodesBefore = await decodes();
      const outcome = outcomeOf(client.embed({ image }));
      const known = new Set<number>();
      for (let crash = 0; crash < 2; crash++) {
        const { pid } = await nextProcess(server, role, known);
        // One image takes it much longer than it takes to see that it has begun.
        if (role === 'decoder') await eventually('it decodes', () => processState(pid) === 'R');
        else
          await eventually('the image is decoded', async () => (await decodes()) > decodesBefore);
        process.kill(pid, 'SIGSEGV');
      }
      const failure = await outcome;
      assert.ok(failure instanceof CallFailure);
      assert.equal(failure.reason, 'IMAGE_QUARANTINED', failure.message);
      await holdsFrom(server, client, role, image);
    });
  }
});

const RLIMIT_DATA = 2;

/** Like an operator’s `prlimit --data`: the present memory of the process, and 16 MiB more. */
function limitMemory(pid: number): void {
  const kibibytes = Number(
    /^VmData:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1],
  );
  const bytes = BigInt(kibibytes * 1024 + 16 * 2 ** 20);
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(bytes, 0);
  limit.writeBigUInt64LE(bytes, 8);
  const prlimit = koffi
    .load(null)
    .func('int prlimit64(int pid, int resource, const void* limit, void* before)');
  assert.equal(prlimit(pid, RLIMIT_DATA, limit, null), 0);
}
