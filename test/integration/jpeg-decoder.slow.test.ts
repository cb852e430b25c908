/** The decoder of JPEG in a real server: option, log and metric agree. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadTurboJpeg } from '#vitserve/workers/decode/turbojpeg-library.js';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg, webp } from '../support/images.js';
import { ON_CPU, ServerProcess } from '../support/server.js';

const FLAGS = [
  ...ON_CPU,
  '--decoder-processes',
  '1',
  '--inference-processes',
  '1',
  '--permits',
  '64',
];
const FALLBACK = 'without libturbojpeg: sharp decodes JPEG and takes longer';
const loaded = loadTurboJpeg();
const automatic = 'library' in loaded ? 'turbojpeg' : 'sharp';

describe('the JPEG decoder', () => {
  for (const [flags, decoder] of [
    [[], automatic],
    [['--jpeg-decoder', 'sharp'], 'sharp'],
  ] as const) {
    test(`with ${flags.join(' ') || 'no flags'}`, async (t) => {
      const server = await ServerProcess.start(t, [...FLAGS, ...flags]);
      const client = new PlainClient(t, server.address);
      assert.equal((await server.logged('throughput measured')).jpegDecoder, decoder);
      const said = server.lines.some(({ msg }) => msg === FALLBACK);
      assert.equal(said, 'why' in loaded && flags.length === 0);

      const count = (format: string, by: string) =>
        server.metric('vitserve_decode_duration_seconds_count', { format, decoder: by });
      const before = { jpeg: await count('jpeg', decoder), webp: await count('webp', 'sharp') };
      await client.classify({ image: await jpeg(1) });
      await client.classify({ image: await webp(1) });
      assert.equal(await count('jpeg', decoder), before.jpeg + 1);
      assert.equal(await count('webp', 'sharp'), before.webp + 1);
    });
  }
});
