import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { test } from 'node:test';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import {
  CONNECTION_WINDOW_BYTES,
  STREAM_WINDOW_BYTES,
  widenConnectionWindows,
  widenStreamWindows,
} from '#vitserve/server/workarounds/upload-window.js';

test('clients learn of wide windows and large frames, and other settings stay', async (t) => {
  const server = new Server({ 'grpc.max_concurrent_streams': 77 });
  t.after(() => server.forceShutdown());
  widenStreamWindows(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  widenConnectionWindows(server);
  const session = connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  await once(session, 'remoteSettings');
  assert.equal(session.remoteSettings.initialWindowSize, STREAM_WINDOW_BYTES);
  assert.equal(session.remoteSettings.maxFrameSize, 256 * 1024);
  assert.equal(session.remoteSettings.maxConcurrentStreams, 77);
  // The window update is a frame of its own, sent with the settings; a ping comes back after it.
  await new Promise<void>((resolve, reject) =>
    session.ping((error) => (error === null ? resolve() : reject(error))),
  );
  assert.equal(session.state.remoteWindowSize, CONNECTION_WINDOW_BYTES);
});
