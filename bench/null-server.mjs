// A gRPC server that does nothing with an image: what receiving it with grpc-js costs by itself,
// for bench/front.mjs. On standard input and output it speaks as bench/children.mjs has it: asked
// {}, it answers with its CPU time so far.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadContract } from '../dist/contract/contract.js';
import { collectLessOften } from '../dist/server/workarounds/gc-tuning.js';
import {
  widenConnectionWindows,
  widenStreamWindows,
} from '../dist/server/workarounds/upload-window.js';
import { answerQuestions } from './children.mjs';

// Whatever of the transport can be set is as in the product.
collectLessOften();
const response = {
  predictions: Array.from({ length: 5 }, (_, classIndex) => ({
    classIndex,
    label: 'a class',
    score: 0.2,
  })),
  model: { name: 'null', version: '1', executionProvider: 'none' },
  timing: { decode: { nanos: 1 }, queue: { nanos: 1 }, inference: { nanos: 1 }, batchSize: 1 },
};
const { contract } = loadContract();
const server = new Server({
  'grpc.max_receive_message_length': 2 ** 25,
  'grpc.enable_channelz': 0,
});
server.addService(contract.vitserve.v1.ClassificationService.service, {
  Classify: (_call, reply) => reply(null, response),
});
widenStreamWindows(server);
const port = await new Promise((resolve, reject) =>
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  ),
);
widenConnectionWindows(server);
await answerQuestions({ address: `127.0.0.1:${port}` }, () => {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1000 };
});
server.forceShutdown();
