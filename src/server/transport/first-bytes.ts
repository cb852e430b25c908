/**
 * What a new connection speaks, by its first bytes, and what is said to who speaks something else
 * than HTTP/2.
 *
 * Given to HTTP/2, such a connection is closed without a word, and its owner looks for the fault in
 * the network. What it costs: one piece of data a connection goes through JavaScript twice, and the
 * server's SETTINGS follow the client's preface.
 */
import type { Socket } from 'node:net';

export type Spoken = 'http2' | 'http1' | 'tls' | 'unknown';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** So much of it no other protocol begins with. */
const TELLING_BYTES = 4;
/** The type of a TLS record that carries a handshake. */
const TLS_HANDSHAKE = 0x16;
const HTTP1_METHOD = /^[A-Z]{3,7} /;
/** What may still become one. */
const METHOD_BEGINNING = /^[A-Z]{1,7}$/;

/** What callers of HTTP/1.1 read; `curl` prints it. */
const HTTP1_TEXT =
  'This port speaks gRPC: HTTP/2 from the first byte, without an upgrade from HTTP/1.1. Call it with a gRPC client, send ' +
  'gRPC-Web and JSON through a proxy that translates, and have proxies forward by HTTP/2. Metrics and health by HTTP are on ' +
  'http-address.\n';

/** By the log's words. */
export const FOREIGN = {
  http1: 'HTTP/1.1 came, and this port speaks gRPC: HTTP/2 from the first byte',
  tls: 'TLS came, and this port is plaintext: give the server tls-cert and tls-key, or have the caller use plaintext',
  plaintext: 'plaintext came, and this port wants TLS: have the caller use TLS',
} as const;

/** null: too little to tell. */
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

/** Calls back once enough has come to tell; what has come is there to be read again. */
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

/**
 * Says so in HTTP/1.1, and lets the rest of the request go by, since a reset would take the answer
 * along.
 */
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
