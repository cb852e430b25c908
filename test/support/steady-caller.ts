/**
 * A program: calls the target of its first argument at a steady rate, over every address that DNS
 * gives, without retries, until its standard input ends; then it prints how many calls ended with
 * which status. The second argument is the least time between two questions to DNS, in
 * milliseconds.
 *
 * It is a program of its own because grpc-js chooses its resolver when it is loaded
 * (GRPC_NODE_USE_ALTERNATIVE_RESOLVER).
 */
import { credentials, status as grpcStatus } from '@grpc/grpc-js';
import { loadContract } from '#vitserve/contract/contract.js';
import { plainPng } from './images.js';

const EVERY_MS = 10;
const TIMEOUT_MS = 3_000;

const [target = '', betweenLookupsMs = ''] = process.argv.slice(2);
const { ClassificationService } = loadContract().contract.vitserve.v1;
const client = new ClassificationService(target, credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.enable_retries': 0,
  'grpc.dns_min_time_between_resolutions_ms': Number(betweenLookupsMs),
});
const image = await plainPng([1, 2, 3]);
const ended = new Map<string, number>();
let open = 0;
const call = () => {
  open++;
  client.classify({ image }, { deadline: Date.now() + TIMEOUT_MS }, (error) => {
    const code = error === null ? 'OK' : (grpcStatus[error.code] ?? 'UNKNOWN');
    ended.set(code, (ended.get(code) ?? 0) + 1);
    open--;
  });
};
const timer = setInterval(call, EVERY_MS);
process.stdin.resume().on('end', () => {
  clearInterval(timer);
  const finish = setInterval(() => {
    if (open > 0) return;
    clearInterval(finish);
    client.close();
    process.stdout.write(`${JSON.stringify(Object.fromEntries(ended))}\n`);
  }, 10);
});
