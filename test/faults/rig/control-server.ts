/**
 * Servers that the rig must judge correctly, run as programs of their own: `node control-server.js
 * KIND`.
 *
 * They answer from a hash of the image, after a moment, so that calls overlap. `honest` does
 * nothing wrong; `leaking` keeps memory with every call; `swapping` sometimes exchanges the answers
 * of two calls; `losing` sometimes gives none; `rejecting` sometimes rejects a good image as bad.
 */
import { createHash } from 'node:crypto';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { loadContract } from '#vitserve/contract/contract.js';

export const CONTROLS = ['honest', 'leaking', 'swapping', 'losing', 'rejecting'] as const;
export type Control = (typeof CONTROLS)[number];

const ANSWER_AFTER_MS = 5;
const EVERY = 50;
const LEAKED_BYTES = 2 * 1024 * 1024;
const SCORES = 10;

type Answer = (response: object) => void;
type Call = ServerUnaryCall<{ image: Buffer }, object>;

function serve(kind: Control): void {
  const kept: Buffer[] = [];
  let calls = 0;
  const treat = (respond: (image: Buffer) => object) => {
    let held: { readonly response: object; readonly answer: Answer } | null = null;
    return (call: Call, reply: sendUnaryData<object>) => {
      const isDue = ++calls % EVERY === 0;
      const response = respond(call.request.image);
      const answer: Answer = (message) => reply(null, message);
      if (kind === 'leaking') kept.push(Buffer.alloc(LEAKED_BYTES, 1));
      if (kind === 'losing' && isDue) return;
      if (kind === 'rejecting' && isDue) {
        reply({ code: status.INVALID_ARGUMENT, details: 'no image' });
        return;
      }
      setTimeout(() => {
        if (held !== null) {
          held.answer(response);
          answer(held.response);
          held = null;
        } else if (kind === 'swapping' && isDue) {
          held = { response, answer };
        } else answer(response);
      }, ANSWER_AFTER_MS);
    };
  };

  const { vitserve, grpc } = loadContract().contract;
  const server = new Server();
  server.addService(vitserve.v1.ClassificationService.service, {
    classify: treat((image) => ({
      predictions: scoresOf(image).map((score, classIndex) => ({ classIndex, score })),
    })),
    embed: treat((image) => ({ embedding: scoresOf(image) })),
  });
  server.addService(grpc.health.v1.Health.service, {
    check: (_: unknown, reply: sendUnaryData<object>) => reply(null, { status: 'SERVING' }),
  });
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    process.stdout.write(`127.0.0.1:${port}\n`);
  });
  process.stdin.resume().on('end', () => process.exit(0));
}

function scoresOf(image: Buffer): number[] {
  const hash = createHash('sha256').update(image).digest();
  return Array.from({ length: SCORES }, (_, at) => Math.fround(hash.readUInt16BE(2 * at) / 65_536));
}

const [, program, kind] = process.argv;
if (program?.endsWith('control-server.js'))
  serve(CONTROLS.find((control) => control === kind) ?? 'honest');
