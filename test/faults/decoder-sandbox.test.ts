/**
 * What code that takes over a decoder would find: every descriptor accounted for, no environment,
 * no privileges, no new descriptors, and a bound on memory that the largest pictures of every
 * format stay within.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import sharp, { type Sharp } from 'sharp';
import { failureOf, PlainClient } from '../support/grpc-client.js';
import { jpeg, plainPng } from '../support/images.js';
import { type Child, ON_CPU, ServerProcess, suiteScope } from '../support/server.js';

const LINUX = process.platform === 'linux' ? {} : { skip: 'only Linux can do it' };
const ROOT = process.getuid?.() === 0 ? {} : { skip: 'what a decoder has open only root can see' };

const MEBIBYTE = 2 ** 20;
/** With four channels more than the 100 MB from which on libvips would use a temporary file. */
const PIXELS = 27_000_000;

describe('a decoder', LINUX, () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;
  let decoders: Child[];
  let inference: Child;

  before(async () => {
    const flags = ['--decoder-processes', '2', '--inference-processes', '1', '--permits', '16'];
    // Started with a foreign file open.
    const within = ['sh', '-c', 'exec 9</etc/hostname && exec "$@"', 'sh'];
    server = await ServerProcess.start(
      scope,
      [...ON_CPU, ...flags, '--max-image-pixels', String(PIXELS)],
      { within },
    );
    client = new PlainClient(scope, server.address);
    for (let seed = 0; seed < 8; seed++) await client.classify({ image: await jpeg(seed) });
    await client.classify({ image: await plainPng([1, 2, 3]) });
    decoders = server.children('decoder');
    [inference] = server.children('inference') as [Child];
    assert.equal(decoders.length, 2);
  });

  const textOf = (pid: number, file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
  const memoryOf = (pid: number) => {
    const mebibytesOf = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(textOf(pid, 'status'))?.[1]) / 1024;
    return {
      resident: mebibytesOf('VmRSS'),
      peak: mebibytesOf('VmHWM'),
      private: mebibytesOf('VmData'),
    };
  };

  test(
    "has three descriptors to communicate, two files of shared memory, Node's own, and nothing else",
    ROOT,
    (t) => {
      for (const { pid } of decoders) {
        const open = new Map(
          readdirSync(`/proc/${pid}/fd`).map((fd) => [
            Number(fd),
            readlinkSync(`/proc/${pid}/fd/${fd}`),
          ]),
        );
        t.diagnostic(
          `${open.size} descriptors: ${[...open].map(([fd, to]) => `${fd} ${to}`).join(', ')}`,
        );
        const expected: Readonly<Record<number, RegExp>> = {
          0: /^\/dev\/null$/,
          // Standard output, standard error, the channel.
          1: /^socket:/,
          2: /^socket:/,
          3: /^socket:/,
          // The slots and the inbox, which have no name any more.
          4: /\/vitserve-\S+ \(deleted\)$/,
          5: /\/vitserve-\S+ \(deleted\)$/,
        };
        for (const [fd, to] of Object.entries(expected))
          assert.match(open.get(Number(fd)) ?? 'closed', to, `descriptor ${fd}`);
        for (const [fd, to] of open) {
          if (fd in expected) continue;
          // The event loop’s own: it waits on these and wakes itself by them.
          assert.match(
            to,
            /^(anon_inode:\[(eventpoll|eventfd|io_uring)\]|pipe:\[\d+\]|\/dev\/null)$/,
            `descriptor ${fd}`,
          );
        }
      }
    },
  );

  test('has only the settings of its libraries as environment', ROOT, () => {
    for (const { pid } of decoders) {
      const names = textOf(pid, 'environ')
        .split('\0')
        .filter(Boolean)
        .map((entry) => entry.split('=')[0]);
      assert.deepEqual(names.sort(), [
        'MALLOC_ARENA_MAX',
        'MALLOC_MMAP_THRESHOLD_',
        'VIPS_DISC_THRESHOLD',
      ]);
    }
  });

  test('has no privileges to gain, no core dump, and no further descriptors', () => {
    for (const { pid } of [...decoders, inference]) {
      assert.match(textOf(pid, 'status'), /^NoNewPrivs:\s+1$/m);
      assert.match(textOf(pid, 'limits'), /^Max core file size\s+0\s+0\s/m);
      assert.match(textOf(pid, 'limits'), /^Max open files\s+0\s+0\s/m);
    }
  });

  test('spends no memory on a file that claims an enormous size', async (t) => {
    const lying = async (picture: Promise<Buffer>, change: (file: Buffer) => void) => {
      const file = await picture;
      change(file);
      return file;
    };
    const small = sharp({ create: { width: 64, height: 64, channels: 3, background: '#abc' } });
    const frameOf = (file: Buffer) => {
      const at = file.indexOf(Buffer.of(0xff, 0xc2));
      assert.ok(at > 0);
      return at + 5;
    };
    const files = [
      ...[16_385, 65_535].map((side) =>
        lying(small.clone().jpeg({ progressive: true }).toBuffer(), (file) => {
          file.writeUInt16BE(side, frameOf(file));
          file.writeUInt16BE(side, frameOf(file) + 2);
        }),
      ),
      lying(small.clone().png().toBuffer(), (file) => {
        file.writeUInt32BE(65_535, 16);
        file.writeUInt32BE(65_535, 20);
      }),
    ];
    const before = decoders.map(({ pid }) => memoryOf(pid).peak);
    for (const file of files) {
      const { reason } = await failureOf(client.classify({ image: await file }));
      assert.equal(reason, 'IMAGE_TOO_LARGE');
    }
    const more = decoders.map(({ pid }, index) =>
      Math.round(memoryOf(pid).peak - (before[index] as number)),
    );
    t.diagnostic(`peaks rose by ${more.join(' and ')} MiB`);
    assert.ok(Math.max(...more) <= 10);
  });

  test('has a bound on its memory, which the largest pictures of every kind respect', async (t) => {
    const side = Math.floor(Math.sqrt(PIXELS));
    const drawn = (channels: 3 | 4) =>
      sharp({
        create: {
          width: side,
          height: side,
          channels,
          background: { r: 9, g: 99, b: 200, alpha: 0.5 },
        },
      });
    const turned = (image: Sharp) => image.withMetadata({ orientation: 6 });
    const pictures: Readonly<Record<string, Promise<Buffer>>> = {
      'progressive JPEG, rotated': turned(drawn(3))
        .jpeg({ progressive: true, chromaSubsampling: '4:4:4' })
        .toBuffer(),
      'CMYK JPEG, rotated': turned(drawn(3).toColourspace('cmyk'))
        .jpeg({ progressive: true })
        .toBuffer(),
      'interlaced PNG of 16 bits, rotated': turned(drawn(4).toColourspace('rgb16'))
        .png({ progressive: true, compressionLevel: 1 })
        .toBuffer(),
      'grey PNG of 16 bits, rotated': turned(drawn(3).toColourspace('grey16'))
        .png({ progressive: true, compressionLevel: 1 })
        .toBuffer(),
      'WebP with alpha, rotated': turned(drawn(4)).webp({ effort: 0 }).toBuffer(),
      'lossless WebP, rotated': turned(drawn(4)).webp({ effort: 0, lossless: true }).toBuffer(),
    };
    const [decoder] = decoders as [Child];
    const bound =
      Number(/^Max data size\s+(\d+)\s+\1\s/m.exec(textOf(decoder.pid, 'limits'))?.[1]) / MEBIBYTE;
    const allowed = (24 * PIXELS) / MEBIBYTE + 192;
    // Beyond Node's own mappings, which are 200 MiB with Node 20 and 600 with Node 24.
    const taken = Number(/^VmData:\s+(\d+) kB$/m.exec(textOf(decoder.pid, 'status'))?.[1]) / 1024;
    assert.ok(
      Math.abs(bound - taken - allowed) < 64,
      `${bound} MiB, ${taken} of it taken, for ${allowed}`,
    );
    const atRest = decoders.map(({ pid }) => memoryOf(pid).resident);
    for (const [what, picture] of Object.entries(pictures)) {
      const image = await picture;
      // Both decoders at a time.
      await Promise.all(decoders.map(() => client.classify({ image })));
      const peaks = decoders.map(({ pid }) => Math.round(memoryOf(pid).peak));
      t.diagnostic(
        `${what}: peak ${peaks.join(' and ')} MiB resident so far, ${Math.round(bound)} MiB allowed`,
      );
    }
    assert.equal(await server.metric('vitserve_process_losses_total'), 0);
    for (let seed = 0; seed < 6; seed++) await client.classify({ image: await jpeg(seed) });
    for (const [index, { pid }] of decoders.entries()) {
      const left = memoryOf(pid).resident - (atRest[index] as number);
      t.diagnostic(`decoder ${index}: ${Math.round(left)} MiB more than before, once all is over`);
      // Up to 16 MiB of working memory are kept on purpose, and the libraries keep some.
      assert.ok(left < 64, `${left} MiB are left`);
    }
  });
});
