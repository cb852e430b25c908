/**
 * The deadlines of calls (`grpc-timeout`), before grpc-js reads them.
 *
 * grpc-js takes the milliseconds modulo 2³², so a deadline of some weeks is over at once or comes
 * at any time; and it finds a number and a unit anywhere in the text. Here what is further away
 * than a timer can be set, 2³¹ ms or 24.8 days, is no deadline, and what is none by gRPC over
 * HTTP/2 (one to eight digits and one of H, M, S, m, u, n) is refused. Fractions of a millisecond
 * are dropped, as grpc-js does: 999 µs are over at once.
 *
 * Only the listeners of Node's HTTP/2 server see the headers before grpc-js does, and
 * `http2Servers` is a private field of it. Where an update moves that, deadlines are read by
 * grpc-js alone and `test/integration/grpc-timeout.test.ts` fails.
 */
import type { Http2Server, ServerHttp2Stream } from 'node:http2';
import type { Server, ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { RequestError } from '../../errors.js';

const HEADER = 'grpc-timeout';
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** The longest that a timer of Node can be set to. */
const LONGEST_MS = 2 ** 31 - 1;
const SHOWN_CHARACTERS = 40;

/** Values that are no timeout, by the call's stream. */
const unreadable = new WeakMap<object, string>();

/** After `bindAsync` or its like. */
export function readTimeouts(server: Server): void {
  const { http2Servers } = server as unknown as {
    readonly http2Servers?: Map<Http2Server, unknown>;
  };
  for (const http2Server of http2Servers?.keys() ?? []) {
    http2Server.prependListener('stream', (stream, headers) => {
      const text = headers[HEADER];
      if (text === undefined) return;
      const milliseconds = parseTimeout(String(text));
      if (milliseconds === null) unreadable.set(stream, String(text));
      if (milliseconds === null || milliseconds === Number.POSITIVE_INFINITY)
        delete headers[HEADER];
    });
  }
}

/** Throws RequestError REQUEST_MALFORMED for a call whose timeout can't be read. */
export function checkTimeout(call: ServerInterceptingCallInterface): void {
  const { stream } = call as { stream?: ServerHttp2Stream };
  const text = stream === undefined ? undefined : unreadable.get(stream);
  if (text === undefined) return;
  throw new RequestError(
    'REQUEST_MALFORMED',
    `${HEADER} is ${JSON.stringify(text.slice(0, SHOWN_CHARACTERS))}: send one to eight digits and a unit of H, M, S, m, u, n, such as 5S`,
  );
}

/** Milliseconds; Infinity: so far away that it is no deadline; null: no timeout at all. */
export function parseTimeout(text: string): number | null {
  const [, digits, unit] = TIMEOUT.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return null;
  const milliseconds = Number(digits) * (UNIT_MS[unit] as number);
  return milliseconds > LONGEST_MS ? Number.POSITIVE_INFINITY : milliseconds;
}
