/** What strangers can make the server hold without a good call. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { MOST_CALLS_OF_A_CONNECTION } from '#vitserve/server/rpc/grpc-server.js';
import { PlainClient } from '../../../support/grpc-client.js';
import { continuousLoad } from '../../../support/load.js';
import { framed, RawConnection } from '../../../support/raw-call.js';
import {
  callHeaders,
  END_HEADERS,
  FRAME,
  frame,
  headerBlock,
  RawSocket,
} from '../../../support/raw-http2.js';
import { ServerProcess, SIMULATED } from '../../../support/server.js';
import { poissonCallers } from '../load-actors.js';
import { run } from '../run.js';
import { drawGood, knowPictures } from '../stage.js';
import { type Check, memoryNow, mib, peakGrowth } from './check.js';

const SLOW = 500;
const UPLOAD_TIMEOUT_MS = 10_000;

export const slowDrips: Check = {
  asked: '500 uploads of a byte a second: each ended within 30 s; p99 of others at most 20 % more',
  async measure(scope) {
    const flags = [
      '--execution-provider',
      'simulated:1:10',
      '--permits',
      '600',
      '--upload-timeout',
      `${UPLOAD_TIMEOUT_MS}ms`,
    ];
    const server = await ServerProcess.start(scope, flags);
    const client = new PlainClient(scope, server.address);
    const pictures = await knowPictures(client, await drawGood(), []);
    const subject = { address: server.address, http: null, pid: server.pid };
    const others = async () => {
      const actors = [poissonCallers(40)];
      const times = {
        durationMs: UPLOAD_TIMEOUT_MS,
        windowMs: 60_000,
        sampleMs: 60_000,
        patienceMs: 10_000,
      };
      return (await run({ subject, pictures, actors, ...times })).totals.rightMs?.p99 ?? Number.NaN;
    };
    await others();
    const alone = await others();
    const connection = await RawConnection.open(scope, server.port);
    const message = framed({ image: pictures.good[0]?.image });
    const calls = Array.from({ length: SLOW }, () => connection.begin('Classify'));
    let at = 0;
    const drip = setInterval(() => {
      for (const call of calls) call.write(message.subarray(at, at + 1));
      at++;
    }, 1_000);
    scope.after(() => clearInterval(drip));
    const beside = await others();
    const endings = await Promise.all(calls.map(({ ended }) => ended));
    const slowest = Math.max(...endings.map(({ afterMs }) => afterMs));
    const figure = `all ended within ${(slowest / 1_000).toFixed(1)} s; p99 of others ${alone.toFixed(1)} ms alone, ${beside.toFixed(1)} ms beside them`;
    return { figure, holds: slowest <= 30_000 && beside <= 1.2 * alone };
  },
};

const IDLERS = 2_000;
const AGE_MS = 10_000;

export const idlers: Check = {
  asked: '2,000 connections without a call: closed within their age + 5 s; at most 100 MiB',
  async measure(scope) {
    const flags = [
      ...SIMULATED,
      '--max-connections',
      '3000',
      '--max-connection-age',
      `${AGE_MS}ms`,
    ];
    const server = await ServerProcess.start(scope, flags);
    const raws: RawSocket[] = [];
    let sinceLast = 0;
    const grown = await peakGrowth(server, async () => {
      for (let opened = 0; opened < IDLERS; opened += 100) {
        raws.push(
          ...(await Promise.all(
            Array.from({ length: 100 }, () => RawSocket.http2(scope, server.port)),
          )),
        );
      }
      sinceLast = performance.now();
      await Promise.all(raws.map(({ closed }) => closed));
    });
    const afterMs = performance.now() - sinceLast;
    const figure = `all closed ${(afterMs / 1_000).toFixed(1)} s after the last was opened (age ${AGE_MS / 1_000} s); ${mib(grown)} at most`;
    return { figure, holds: afterMs <= AGE_MS + 5_000 && grown <= 100 };
  },
};

const ABOVE = 100;

export const streamsAboveCap: Check = {
  asked: '100 streams above the cap of a connection: the server stays, others see no error',
  async measure(scope) {
    // Few enough uploads that none is refused: all stay open until the upload timeout.
    const open = MOST_CALLS_OF_A_CONNECTION + ABOVE;
    const server = await ServerProcess.start(scope, [...SIMULATED, '--permits', String(2 * open)]);
    const client = new PlainClient(scope, server.address);
    const [image] = (await drawGood(1)) as [Buffer];
    const others = continuousLoad(2, () => client.classify({ image }).then(() => 'right', String));
    const raw = await RawSocket.http2(scope, server.port);
    const header = headerBlock(callHeaders(`/vitserve.v1.ClassificationService/Classify`));
    for (let stream = 0; stream < open; stream++) {
      await raw.send(frame(FRAME.headers, END_HEADERS, 2 * stream + 1, header));
    }
    await delay(2_000);
    const results = await others.stop();
    const wrong = results.filter((result) => result !== 'right').length;
    const refused = raw.count(FRAME.resetStream);
    const lives = (await client.classify({ image })) !== null;
    const figure = `${refused} streams reset${raw.has(FRAME.goAway) || raw.isClosed ? ', the connection closed' : ''}; ${wrong} of ${results.length} calls of others failed`;
    return {
      figure,
      holds: lives && wrong === 0 && results.length > 0 && (refused >= ABOVE || raw.isClosed),
    };
  },
};

const NAMES = 100_000;
const NAMES_AT_A_TIME = 100;

export const watchers: Check = {
  asked: '100,000 Watch calls on names at random: at most 10 MiB more in the last 50,000',
  async measure(scope) {
    const server = await ServerProcess.start(scope, SIMULATED);
    const clients = Array.from({ length: 10 }, () => new PlainClient(scope, server.address));
    let before = Number.NaN;
    for (let named = 0; named < NAMES; named += NAMES_AT_A_TIME) {
      const watches = Array.from({ length: NAMES_AT_A_TIME }, (_, at) =>
        clients[at % clients.length]?.watch(randomUUID()),
      );
      await Promise.all(watches.map((watch) => watch?.count(1).catch(() => null)));
      for (const watch of watches) watch?.cancel();
      await Promise.all(watches.map((watch) => watch?.ended));
      if (named === NAMES / 2) before = memoryNow(server);
    }
    const grown = memoryNow(server) - before;
    return { figure: `${mib(grown)} more`, holds: grown <= 10 };
  },
};
