/**
 * A child process that does whatever it is told, for tests of its supervision: like its module's
 * programs it is run by `runChild`, and each call is the text of what to do.
 */
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { CHANNEL_FD, runChild } from '#vitserve/workers/process/child-main.js';
import { encodeFrame, encodeJsonFrame, FrameTag } from '#vitserve/workers/process/frames.js';
import type { ResourceLimits } from '#vitserve/workers/process/sandbox.js';

export interface Settings {
  readonly start: 'as it should' | 'dies' | 'says nothing' | 'writes garbage';
  readonly limits: ResourceLimits;
}

const MEBIBYTE = 2 ** 20;

/** What no honest child would send while it works on a call. */
const NONSENSE: Readonly<Record<string, () => Buffer>> = {
  'unknown-tag': () => encodeFrame(99 as FrameTag, Buffer.alloc(3)),
  'call-tag': () => encodeFrame(FrameTag.Call, Buffer.alloc(3)),
  'second-reply': () =>
    Buffer.concat([1, 2].map(() => encodeFrame(FrameTag.Reply, Buffer.from('unasked')))),
  'ready-again': () => encodeJsonFrame(FrameTag.Ready, {}),
  'failed-late': () => encodeJsonFrame(FrameTag.Failed, { kind: 'usage', problems: ['late'] }),
  'endless-frame': () => Buffer.from([0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0]),
  'random-bytes': () => Buffer.alloc(100_000, 0xa5),
  'wrong-reply': () => encodeFrame(FrameTag.Reply, Buffer.from('not this')),
};

await runChild<Settings>({
  oomScoreAdded: 0,
  async start({ start, limits }) {
    if (start === 'dies') process.exit(7);
    if (start === 'says nothing') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    if (start === 'writes garbage') writeSync(CHANNEL_FD, Buffer.alloc(4096, 0xee));
    return {
      hello: async () => ({ pid: process.pid }),
      limits,
      answer: async (call) => Buffer.from(await act(call.toString())),
    };
  },
});

async function act(call: string): Promise<string> {
  const [what, detail = ''] = call.split(' ');
  switch (what) {
    case 'echo':
      return detail;
    case 'exit':
      return process.exit(Number(detail));
    case 'throw':
      throw new Error('thrown on request');
    case 'crash':
      process.kill(process.pid, detail);
      return await new Promise(() => {});
    case 'spin':
      for (;;);
    case 'hang':
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      return '';
    case 'send':
      writeSync(CHANNEL_FD, NONSENSE[detail]?.() ?? Buffer.alloc(0));
      return 'sent';
    case 'write':
      writeSync(2, Buffer.alloc(Number(detail) * MEBIBYTE, 'x'));
      return 'written';
    case 'lines':
      writeSync(2, 'a line\n'.repeat(Number(detail)));
      return 'written';
    case 'take':
      return String(Buffer.alloc(Number(detail) * MEBIBYTE, 1).length);
    case 'open':
      openSync(detail, 'r');
      return 'opened';
    case 'listen':
      await new Promise((resolve, reject) =>
        createServer()
          .once('error', reject)
          .listen(0, '127.0.0.1', () => resolve(null)),
      );
      return 'listening';
    default:
      return `what is "${what}"?`;
  }
}
