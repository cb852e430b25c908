/** What files made to hurt cost beside their own rejection. */
import sharp from 'sharp';
import { Durations } from '#vitserve/client/bench/durations.js';
import { failureOf, PlainClient } from '../../../support/grpc-client.js';
import { exactPng, GIF, jpeg, SVG, TEXT } from '../../../support/images.js';
import { ON_CPU, ServerProcess } from '../../../support/server.js';
import { type Check, mib, peakGrowth } from './check.js';

/** The first bytes of each; the rest is not read. */
const FOREIGN: Readonly<Record<string, Buffer>> = {
  SVG,
  GIF,
  text: TEXT,
  path: Buffer.from('/etc/hostname'),
  PDF: Buffer.from('%PDF-1.7\n%âãÏÓ\n1 0 obj\n', 'latin1'),
  TIFF: Buffer.from([0x49, 0x49, 0x2a, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
  BMP: Buffer.concat([Buffer.from('BM'), Buffer.alloc(60)]),
  AVIF: Buffer.from('\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf', 'latin1'),
};
const TIMES = 100;

export const foreignFiles: Check = {
  asked: 'SVG, PDF, TIFF, GIF, AVIF, BMP, text, a path: refused within 5 ms (p99), none decoded',
  async measure(scope) {
    const server = await ServerProcess.start(scope, ON_CPU);
    const client = new PlainClient(scope, server.address);
    const decoded = () => server.metric('vitserve_decode_duration_seconds_count');
    const before = await decoded();
    const durations = new Durations();
    const reasons = new Set<string | null>();
    for (let time = 0; time < TIMES; time++) {
      for (const image of Object.values(FOREIGN)) {
        const since = performance.now();
        reasons.add((await failureOf(client.classify({ image }))).reason);
        if (time > TIMES / 10) durations.record(performance.now() - since);
      }
    }
    const p99 = durations.summary()?.p99 ?? Number.NaN;
    const decodes = (await decoded()) - before;
    const figure = `p99 ${p99.toFixed(1)} ms, ${decodes} decoded, ${[...reasons].join()}`;
    return { figure, holds: p99 <= 5 && decodes === 0 && reasons.size === 1 };
  },
};

/** The frame header of a progressive JPEG (SOF2), its height and width overwritten. */
async function lyingJpeg(side: number): Promise<Buffer> {
  const file = Buffer.from(
    await sharp(await jpeg(1))
      .jpeg({ progressive: true })
      .toBuffer(),
  );
  const frame = file.indexOf(Buffer.from([0xff, 0xc2]));
  file.writeUInt16BE(side, frame + 5);
  file.writeUInt16BE(side, frame + 7);
  return file;
}

export const lyingHeaders: Check = {
  asked:
    'headers that promise 65,535² and 16,385² pixels: refused, at most 10 MiB more in the decoders',
  async measure(scope) {
    const server = await ServerProcess.start(scope, ON_CPU);
    const client = new PlainClient(scope, server.address);
    const { file: png } = await exactPng(1);
    png.writeUInt32BE(65_535, 16);
    png.writeUInt32BE(65_535, 20);
    const files = [png, await lyingJpeg(65_535), await lyingJpeg(16_385)];
    const reasons = new Set<string | null>();
    const ask = async (times: number) => {
      for (let time = 0; time < times; time++) {
        for (const image of files)
          reasons.add((await failureOf(client.classify({ image }))).reason);
      }
    };
    await ask(20);
    const decoders = server.children('decoder').map(({ pid }) => pid);
    const grown = await peakGrowth(server, () => ask(100), decoders);
    return {
      figure: `${mib(grown)} at most, ${[...reasons].join()}`,
      holds: grown <= 10 && reasons.size === 1,
    };
  },
};

const LARGEST_SIDE = 7_071;
/** Measured; the private memory of a decoder is limited to twice as much. */
const BYTES_A_PIXEL = 12;

export const largestPicture: Check = {
  asked: 'progressive JPEG of 50 million pixels in both decoders: within 12 bytes a pixel each',
  async measure(scope) {
    const server = await ServerProcess.start(scope, [...ON_CPU, '--decoder-processes', '2']);
    const client = new PlainClient(scope, server.address);
    const background = { r: 200, g: 90, b: 30 };
    const image = await sharp({
      create: { width: LARGEST_SIDE, height: LARGEST_SIDE, channels: 3, background },
    })
      .jpeg({ progressive: true, chromaSubsampling: '4:4:4' })
      .toBuffer();
    let answered = 0;
    const grown = await peakGrowth(server, async () => {
      const calls = [1, 2, 3, 4].map(() => client.classify({ image }));
      answered = (await Promise.all(calls)).length;
    });
    const budget = (2 * BYTES_A_PIXEL * LARGEST_SIDE ** 2) / 2 ** 20;
    return {
      figure: `${mib(grown)} at most of ${mib(budget)}, ${answered} of 4 answered`,
      holds: grown <= budget,
    };
  },
};
