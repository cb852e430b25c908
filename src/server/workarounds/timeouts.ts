/**
 * Reads the deadlines of calls (`grpc-timeout`) before grpc-js does.
 *
 * A deadline beyond the longest timer, 2³¹ ms or 24.8 days, counts as none. A text that gRPC over
 * HTTP/2 does not allow (one to eight digits and one of H, M, S, m, u, n) is rejected. Fractions of
 * a millisecond are dropped, as grpc-js does: 999 µs are over at once.
 *
 * - Fact: grpc-js takes the milliseconds modulo 2³², so a deadline of some weeks may pass at once,
 *   and it accepts a number and a unit anywhere in the text (`server-interceptors.ts`). Only the
 *   listeners of its HTTP/2 servers, the private field `http2Servers`, see the headers first.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/grpc-timeout.test.ts`.
 * - Delete when: grpc-js reads `grpc-timeout` as the protocol says.
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
/** The longest timer of Node. */
const LONGEST_MS = 2 ** 31 - 1;
const SHOWN_CHARACTERS = 40;

/** Values that cannot be read, by the call's stream. */
const unreadable = new WeakMap<object, string>();

/** Call it after the server listens or has an injector. */
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

/** Throws RequestError REQUEST_MALFORMED for a call whose timeout cannot be read. */
export function checkTimeout(call: ServerInterceptingCallInterface): void {
  const { stream } = call as { stream?: ServerHttp2Stream };
  const text = stream === undefined ? undefined : unreadable.get(stream);
  if (text === undefined) return;
  const shown = JSON.stringify(text.slice(0, SHOWN_CHARACTERS));
  const advice = 'send one to eight digits and a unit of H, M, S, m, u, n, such as 5S';
  throw new RequestError('REQUEST_MALFORMED', `${HEADER} is ${shown}: ${advice}`);
}

/** Milliseconds; Infinity: too far away for a deadline; null: not a timeout. */
export function parseTimeout(text: string): number | null {
  const [, digits, unit] = TIMEOUT.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return null;
  const milliseconds = Number(digits) * (UNIT_MS[unit] as number);
  return milliseconds > LONGEST_MS ? Number.POSITIVE_INFINITY : milliseconds;
}
