/**
 * What an embedding costs the front, from the reply of the inference process to the bytes of the
 * answer; and what the same values cost as an array of numbers through proto-loader.
 */
import { messageType } from '#vitserve/contract/contract.js';
import { serializeEmbedded } from '#vitserve/server/rpc/embed-serializer.js';
import { decodeReply, encodeReply } from '#vitserve/workers/inference/messages.js';
import { bench, rounds } from './lib/bench.js';
import { median, Table } from './lib/figures.js';

const SIZES = [192, 768, 1536];
const REPEATS = 10_000;
const NOTHING = { seconds: 0, nanos: 1_000 };
const REST = {
  model: { name: 'model', version: '1', executionProvider: 'cpu' },
  timing: { decode: NOTHING, queue: NOTHING, inference: NOTHING, batchSize: 1 },
};

function replyWith(size: number): Buffer {
  const embedding = Float32Array.from({ length: size }, (_, at) => Math.sin(at));
  const output = { predictions: [], embedding, executionMs: 1, batchSize: 1 };
  return encodeReply([{ kind: 'done', output }]);
}

function embeddingIn(reply: Buffer): Float32Array {
  const [result] = decodeReply(reply, 1);
  if (result?.kind !== 'done') throw new Error('no embedding');
  return result.output.embedding;
}

/** CPU microseconds of one run. */
function costOf(work: () => unknown): number {
  for (let at = 0; at < REPEATS / 2; at++) work();
  const before = process.cpuUsage();
  for (let at = 0; at < REPEATS; at++) work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / REPEATS;
}

export default bench({
  about: 'CPU time of the front for the values of an embedding',
  options: { rounds: rounds(3) },
  async run(given) {
    const { serialize } = messageType('vitserve.v1.EmbedResponse');
    const table = new Table('values', 'floats, µs', 'array of numbers, µs');
    for (const size of SIZES) {
      const reply = replyWith(size);
      const ways = [
        () => serializeEmbedded({ embedding: embeddingIn(reply), ...REST }),
        () => serialize({ embedding: Array.from(embeddingIn(reply)), ...REST }),
      ];
      const figures = ways.map((): number[] => []);
      for (let round = 0; round < given.rounds; round++)
        for (const [at, way] of ways.entries()) figures[at]?.push(costOf(way));
      table.row(size, ...figures.map((each) => median(each).toFixed(1)));
    }
  },
});
