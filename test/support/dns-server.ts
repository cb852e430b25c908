/** A DNS server on loopback that answers every question for an A record with the same addresses. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Scope } from './scope.js';

/** RFC 1035 §4.1. */
const HEADER_BYTES = 12;
const TYPE_A = 1;
const ANSWER_BYTES = 16;
/** A response that has no error, from an authority. */
const RESPONSE_FLAGS = 0x8400;
const TTL_SECONDS = 0;

export class DnsServer {
  /** IPv4 addresses, as they are given out from now on. */
  addresses: readonly string[];
  readonly port: number;

  private constructor(port: number, addresses: readonly string[]) {
    this.port = port;
    this.addresses = addresses;
  }

  static async start(scope: Scope, addresses: readonly string[]): Promise<DnsServer> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    scope.after(() => socket.close());
    const server = new DnsServer(socket.address().port, addresses);
    socket.on('message', (question, { port, address }) =>
      socket.send(server.#answer(question), port, address),
    );
    return server;
  }

  #answer(question: Buffer): Buffer {
    const nameEnd = question.indexOf(0, HEADER_BYTES) + 1;
    const asked = question.subarray(HEADER_BYTES, nameEnd + 4);
    const addresses = question.readUInt16BE(nameEnd) === TYPE_A ? this.addresses : [];
    const header = Buffer.from(question.subarray(0, HEADER_BYTES));
    header.writeUInt16BE(RESPONSE_FLAGS, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(addresses.length, 6);
    header.writeUInt32BE(0, 8);
    const answers = addresses.map((address) => {
      const answer = Buffer.alloc(ANSWER_BYTES);
      // The name is the one in the question.
      answer.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
      answer.writeUInt16BE(TYPE_A, 2);
      answer.writeUInt16BE(1, 4);
      answer.writeUInt32BE(TTL_SECONDS, 6);
      answer.writeUInt16BE(4, 10);
      Buffer.from(address.split('.').map(Number)).copy(answer, 12);
      return answer;
    });
    return Buffer.concat([header, asked, ...answers]);
  }
}
