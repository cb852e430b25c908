/**
 * A gRPC server that does nothing with an image: what receiving it with grpc-js costs by itself,
 * for the benchmark `front`. Answers every question with its CPU time so far.
 */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadContract } from '#vitserve/contract/contract.js';
import { collectLessOften } from '#vitserve/server/workarounds/gc-tuning.js';
import {
  widenConnectionWindows,
  widenStreamWindows,
} from '#vitserve/server/workarounds/upload-window.js';
import { answerQuestions } from '../lib/children.js';

const response = {
  predictions: Array.from({ length: 5 }, (_, classIndex) => ({
    classIndex,
    label: 'a class',
    score: 0.2,
  })),
  model: { name: 'null', version: '1', executionProvider: 'none' },
  timing: { decode: { nanos: 1 }, queue: { nanos: 1 }, inference: { nanos: 1 }, batchSize: 1 },
};

async function listen(server: Server): Promise<number> {
  return await new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
}

// Whatever of the transport can be set is as in the product.
collectLessOften();
const { contract } = loadContract();
const server = new Server({
  'grpc.max_receive_message_length': 2 ** 25,
  'grpc.enable_channelz': 0,
});
server.addService(contract.vitserve.v1.ClassificationService.service, {
  Classify: (_call: unknown, reply: (error: null, answer: object) => void) => reply(null, response),
});
widenStreamWindows(server);
const port = await listen(server);
widenConnectionWindows(server);
await answerQuestions({ address: `127.0.0.1:${port}` }, () => {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1000 };
});
server.forceShutdown();
