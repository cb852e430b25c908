/** Takes spans over OTLP and throws them away, for the benchmark `observing`. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerQuestions } from '../lib/children.js';

const server = createServer((request, response) => {
  request
    .resume()
    .on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
await answerQuestions((server.address() as AddressInfo).port, () => null);
server.close();
