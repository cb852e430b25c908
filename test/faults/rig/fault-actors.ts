/**
 * Deliberate faults: children that are killed or stopped, floods, bytes that are not calls. They do
 * not enter the ledger, because no answer is owed to them; the faults are counted.
 */
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import { SERVICE } from '../../support/grpc-client.js';
import { framed } from '../../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../../support/raw-http2.js';
import { isAlive, OwnScope, type Role, type ServerProcess } from '../../support/server.js';
import { pause, type Stage } from './stage.js';

/** Begins, goes on until the stage's signal, and resolves to the number of faults. */
export type Fault = (stage: Stage) => Promise<number>;

export interface Strike {
  readonly everyMs: number;
  /** Taken in turns. */
  readonly roles?: readonly Role[];
  /** SIGSTOP: the server must find out by itself. */
  readonly signal?: 'SIGKILL' | 'SIGSTOP';
}

export function strikes(
  server: ServerProcess,
  { everyMs, roles = ['decoder', 'inference'], signal = 'SIGKILL' }: Strike,
): Fault {
  return async (stage) => {
    const random = seededRandom(everyMs);
    let struck = 0;
    for (let turn = 0; !stage.signal.aborted; turn++) {
      await pause(everyMs, stage.signal);
      if (stage.signal.aborted) break;
      const children = server
        .children(roles[turn % roles.length])
        .filter(({ pid }) => isAlive(pid));
      const victim = children[Math.floor(random() * children.length)];
      if (victim === undefined) continue;
      process.kill(victim.pid, signal);
      struck++;
    }
    return struck;
  };
}

const CLASSIFY = `/${SERVICE}/Classify`;
const FLOOD_CALLS = 1_500;
const DAMAGED_CALLS = 20;
/** Time for the server to read them. */
const READ_WITHIN_MS = 50;

/** Thousands of calls that are reset at once, then calls whose bytes are damaged on the way. */
export function vandals(everyMs: number): Fault {
  return async (stage) => {
    const port = Number(stage.address.split(':').at(-1));
    const random = seededRandom(6);
    let struck = 0;
    while (!stage.signal.aborted) {
      await flood(stage, port);
      for (let at = 0; at < DAMAGED_CALLS && !stage.signal.aborted; at++)
        await damaged(stage, port, random);
      struck++;
      await pause(everyMs, stage.signal);
    }
    return struck;
  };
}

async function flood({ signal }: Stage, port: number): Promise<void> {
  const scope = new OwnScope();
  const raw = await RawSocket.http2(scope, port).catch(() => null);
  if (raw === null) return;
  const headers = headerBlock(callHeaders(CLASSIFY));
  for (let call = 0; call < FLOOD_CALLS && !raw.isClosed && !signal.aborted; call++) {
    const reset = frame(FRAME.resetStream, 0, 2 * call + 1, Buffer.from([0, 0, 0, 8]));
    await raw.send(frame(FRAME.headers, END_HEADERS, 2 * call + 1, headers), reset);
  }
  await scope.end();
}

async function damaged(
  { pictures, signal }: Stage,
  port: number,
  random: () => number,
): Promise<void> {
  const scope = new OwnScope();
  const raw = await RawSocket.http2(scope, port).catch(() => null);
  if (raw === null) return;
  const message = framed({ image: pictures.good[0]?.image.subarray(0, 8_000) });
  const bytes = Buffer.concat([
    frame(FRAME.headers, END_HEADERS, 1, headerBlock(callHeaders(CLASSIFY))),
    frame(FRAME.data, END_STREAM, 1, message),
  ]);
  for (let flip = 0; flip < 8; flip++) {
    // Half of the damage where it hurts most: in frame headers and HPACK.
    const at = Math.floor(random() * (flip % 2 === 0 ? 200 : bytes.length));
    bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(random() * 8));
  }
  await raw.send(bytes);
  raw.socket.end();
  await Promise.race([raw.closed, pause(READ_WITHIN_MS, signal)]);
  await scope.end();
}
