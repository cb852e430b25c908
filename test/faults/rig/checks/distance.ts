/** How fast large images are over a distant connection. */
import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { STREAM_WINDOW_BYTES } from '#vitserve/server/workarounds/upload-window.js';
import { PlainClient } from '../../../support/grpc-client.js';
import { jpeg } from '../../../support/images.js';
import { type Scope, ServerProcess, SIMULATED } from '../../../support/server.js';
import type { Check } from './check.js';

const ROUND_TRIP_MS = 10;
const IMAGE_BYTES = 1_000_000;
const CALLS = 100;

export const farUploads: Check = {
  asked: 'images of 1 MB over a round trip of 10 ms: at least 90 % of what the window allows',
  async measure(scope) {
    const server = await ServerProcess.start(scope, SIMULATED);
    const image = withComments(await jpeg(1, 64, 64), IMAGE_BYTES);
    const far = await distantPort(scope, server.port, ROUND_TRIP_MS / 2);
    const [here, there] = [server.address, `127.0.0.1:${far}`].map(
      (address) => new PlainClient(scope, address),
    ) as [PlainClient, PlainClient];
    // Timers are late by up to a millisecond, so the round trip is measured, with nearly empty
    // calls.
    const roundTrip =
      (await medianMs(() => there.getModel())) - (await medianMs(() => here.getModel()));
    const near = await medianMs(() => here.classify({ image }));
    const distant = await medianMs(() => there.classify({ image }));
    // The rest of the call: receiving, decoding, inference.
    const onTheWay = distant - near;
    const allowed = (roundTrip * IMAGE_BYTES) / STREAM_WINDOW_BYTES;
    const share = allowed / onTheWay;
    const figure = `${(100 * share).toFixed(0)} % of a window a round trip: ${onTheWay.toFixed(1)} ms on the way, where round trips of ${roundTrip.toFixed(1)} ms allow ${allowed.toFixed(1)}; ${(IMAGE_BYTES / 1_000 / distant).toFixed(1)} MB/s a caller in all`;
    return { figure, holds: share >= 0.9 };
  },
};

async function medianMs(call: () => Promise<unknown>): Promise<number> {
  const took: number[] = [];
  for (let made = 0; made < CALLS; made++) {
    const startedAt = performance.now();
    await call();
    took.push(performance.now() - startedAt);
  }
  return took.sort((one, other) => one - other)[CALLS / 2] as number;
}

const COMMENT = [0xff, 0xfe];
const MOST_IN_SEGMENT = 65_535;

/**
 * A JPEG file with comments behind its first marker, so that it has `bytes` bytes or a few more.
 */
function withComments(file: Buffer, bytes: number): Buffer {
  const parts = [file.subarray(0, 2)];
  for (let missing = bytes - file.length; missing > 0; missing -= MOST_IN_SEGMENT + 2) {
    const length = Math.min(missing, MOST_IN_SEGMENT);
    parts.push(
      Buffer.from([...COMMENT, length >> 8, length & 255]),
      Buffer.alloc(Math.max(0, length - 2)),
    );
  }
  return Buffer.concat([...parts, file.subarray(2)]);
}

/** A port that forwards both ways to `port`, with a delay. */
async function distantPort(scope: Scope, port: number, oneWayMs: number): Promise<number> {
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = createConnection(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => {});
      from.on('data', (chunk) => setTimeout(() => to.write(chunk), oneWayMs));
      from.on('close', () => to.destroy());
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  scope.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return (proxy.address() as { port: number }).port;
}
