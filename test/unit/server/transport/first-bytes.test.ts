/** Which protocol a connection speaks, by its first bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Spoken, spokenIn } from '#vitserve/server/transport/first-bytes.js';

const CASES: readonly [bytes: string, spoken: Spoken | null][] = [
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2'],
  ['PRI ', 'http2'],
  ['GET / HTTP/1.1\r\n', 'http1'],
  ['POST /vitserve.v1.ClassificationService/Classify HTTP/1.1\r\n', 'http1'],
  ['OPTIONS / HTTP/1.1\r\n', 'http1'],
  ['PUT ', 'http1'],
  ['PRIX * HTTP/1.1\r\n', 'http1'],
  ['\x16\x03\x01\x02\x00\x01', 'tls'],
  ['\x16', 'tls'],
  ['SSH-2.0-client\r\n', 'unknown'],
  ['*1\r\n', 'unknown'],
  ['get / http/1.1\r\n', 'unknown'],
  ['\x00\x00\x00', 'unknown'],
  ['ABCDEFGHIJ /', 'unknown'],
  // What may still become one thing or another.
  ['', null],
  ['P', null],
  ['PRI', null],
  ['GE', null],
  ['OPTIONS', null],
];

for (const [bytes, spoken] of CASES) {
  test(`${JSON.stringify(bytes)} is ${spoken ?? 'too little to tell'}`, () => {
    assert.equal(spokenIn(Buffer.from(bytes, 'latin1')), spoken);
  });
}
