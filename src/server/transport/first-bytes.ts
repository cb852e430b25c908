/**
 * Which protocol a new connection speaks, by its first bytes, and the answer to one other than
 * HTTP/2.
 *
 * HTTP/2 would close such a connection without an answer, and its owner would look for the fault in
 * the network. What it costs: for each connection, one chunk goes through JavaScript twice, and the
 * server's SETTINGS wait for the client's preface.
 */
import type { Socket } from 'node:net';

export type Spoken = 'http2' | 'http1' | 'tls' | 'unknown';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** No other protocol begins with these first bytes of the preface. */
const TELLING_BYTES = 4;
/** The type of a TLS record that carries a handshake. */
const TLS_HANDSHAKE = 0x16;
const HTTP1_METHOD = /^[A-Z]{3,7} /;
/** What may still become a method. */
const METHOD_BEGINNING = /^[A-Z]{1,7}$/;

/** The answer to callers of HTTP/1.1; `curl` prints it. */
const HTTP1_TEXT =
  'This port speaks gRPC: HTTP/2 from the first byte, without an upgrade from HTTP/1.1. ' +
  'Call it with a gRPC client, send gRPC-Web and JSON through a proxy that translates, ' +
  'and have proxies forward by HTTP/2. Metrics and health by HTTP are on http-address.\n';

/** For the log. */
export const FOREIGN = {
  http1: 'the caller speaks HTTP/1.1, this port gRPC: HTTP/2 from the first byte',
  tls:
    'the caller speaks TLS, this port plaintext: ' +
    'give the server tls-cert and tls-key, or have the caller use plaintext',
  plaintext: 'the caller speaks plaintext, this port TLS: have the caller use TLS',
} as const;

/** null: too few bytes to tell. */
export function spokenIn(bytes: Buffer): Spoken | null {
  const beginning = Math.min(bytes.length, TELLING_BYTES);
  if (bytes.subarray(0, beginning).equals(PREFACE.subarray(0, beginning))) {
    return beginning === TELLING_BYTES ? 'http2' : null;
  }
  if (bytes[0] === TLS_HANDSHAKE) return 'tls';
  const text = bytes.toString('latin1', 0, 8);
  if (HTTP1_METHOD.test(text)) return 'http1';
  return METHOD_BEGINNING.test(text) ? null : 'unknown';
}

/** Calls back once the protocol is known, and puts the bytes back to be read again. */
export function onFirstBytes(connection: Socket, callback: (spoken: Spoken) => void): void {
  let seen = Buffer.alloc(0);
  const onData = (piece: Buffer) => {
    seen = Buffer.concat([seen, piece]);
    const spoken = spokenIn(seen);
    if (spoken === null) return;
    connection.off('data', onData);
    connection.pause();
    connection.unshift(seen);
    callback(spoken);
  };
  connection.on('data', onData);
}

/** Answers in HTTP/1.1, and discards the rest of the request: a reset could lose the answer. */
export function answerHttp1(connection: Socket): void {
  const head = [
    'HTTP/1.1 400 Bad Request',
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(HTTP1_TEXT)}`,
    'connection: close',
  ];
  connection.resume();
  connection.end(`${head.join('\r\n')}\r\n\r\n${HTTP1_TEXT}`);
}
