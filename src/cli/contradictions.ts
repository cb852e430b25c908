/**
 * Settings that are valid alone but not together. A rule is checked only if every option that it
 * reads could be parsed.
 */

import { isIPv4 } from 'node:net';
import type { ServeSettings } from './settings.js';
import { type Address, formatAddress } from './value-types.js';

interface Rule {
  readonly looksAt: readonly (keyof ServeSettings)[];
  problem(settings: ServeSettings): string | undefined;
}

const RULES: readonly Rule[] = [
  {
    looksAt: ['address', 'httpAddress'],
    problem: ({ address, httpAddress }) =>
      overlap(address, httpAddress)
        ? `address ${formatAddress(address)} and http-address ${formatAddress(httpAddress)} take the same port: gRPC and ` +
          'HTTP need one each'
        : undefined,
  },
  {
    looksAt: ['address', 'httpAddress', 'healthAddress'],
    problem: ({ address, httpAddress, healthAddress }) =>
      healthAddress !== null &&
      (overlap(address, healthAddress) || overlap(httpAddress, healthAddress))
        ? `health-address ${formatAddress(healthAddress)} takes the port of address or http-address: it needs one of its own`
        : undefined,
  },
  {
    looksAt: ['tlsCert', 'tlsKey'],
    problem: (settings) => unpairedKey(settings),
  },
  {
    looksAt: ['tlsClientCa', 'tlsCert'],
    problem: ({ tlsClientCa, tlsCert }) =>
      tlsClientCa !== null && tlsCert === null
        ? 'tls-client-ca asks callers for certificates, which only TLS can: give tls-cert and tls-key too'
        : undefined,
  },
  {
    looksAt: ['simulatedInference', 'executionProvider'],
    problem: ({ simulatedInference, executionProvider }) =>
      simulatedInference !== null && executionProvider !== 'auto'
        ? `simulated-inference runs no model, so execution-provider ${executionProvider} can't be met: leave one of them out`
        : undefined,
  },
  {
    looksAt: ['simulatedInference', 'maxBatchSize'],
    problem({ simulatedInference, maxBatchSize }) {
      const largest = simulatedInference?.at(-1)?.batchSize;
      return largest !== undefined && maxBatchSize !== 'auto' && maxBatchSize > largest
        ? `max-batch-size ${maxBatchSize} is above ${largest}, the largest batch that simulated-inference has a time for`
        : undefined;
    },
  },
  {
    looksAt: ['batchSizes', 'maxBatchSize'],
    problem({ batchSizes, maxBatchSize }) {
      const largest = batchSizes === 'auto' ? undefined : batchSizes.at(-1);
      return largest !== undefined && maxBatchSize !== 'auto' && maxBatchSize !== largest
        ? `max-batch-size ${maxBatchSize} is not the largest of batch-sizes, ${largest}: leave it out`
        : undefined;
    },
  },
  {
    looksAt: ['simulatedInference', 'batchSizes'],
    problem({ simulatedInference, batchSizes }) {
      const largest = simulatedInference?.at(-1)?.batchSize;
      const asked = batchSizes === 'auto' ? undefined : batchSizes.at(-1);
      return largest !== undefined && asked !== undefined && asked > largest
        ? `batch-sizes go up to ${asked}, and ${largest} is the largest batch that simulated-inference has a time for`
        : undefined;
    },
  },
  {
    looksAt: ['simulatedInference', 'inferenceTimeoutMs'],
    problem({ simulatedInference, inferenceTimeoutMs }) {
      const slow = simulatedInference?.find(
        ({ milliseconds }) => milliseconds >= inferenceTimeoutMs,
      );
      return slow === undefined
        ? undefined
        : `simulated-inference takes ${slow.milliseconds}ms for a batch of ${slow.batchSize}, and inference-timeout ends ` +
            `executions after ${inferenceTimeoutMs}ms`;
    },
  },
];

export function contradictions(settings: ServeSettings, unreadable: ReadonlySet<string>): string[] {
  return RULES.filter(({ looksAt }) => !looksAt.some((property) => unreadable.has(property)))
    .map((rule) => rule.problem(settings))
    .filter((problem) => problem !== undefined);
}

/**
 * A certificate without its key, or a key without its certificate; the same for a server and a
 * client.
 */
export function unpairedKey({
  tlsCert,
  tlsKey,
}: {
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
}): string | undefined {
  if ((tlsCert === null) === (tlsKey === null)) return undefined;
  return tlsCert === null
    ? 'tls-key is of no use without tls-cert: give both'
    : 'tls-cert needs its key: give tls-key too';
}

/** Whether two listeners overlap. Names are compared as text: the loader does not resolve them. */
function overlap(one: Address, other: Address): boolean {
  if (one.port !== other.port || one.port === 0) return false;
  const hosts = [one.host, other.host];
  if (one.host === other.host || hosts.includes('::')) return true;
  return hosts.includes('0.0.0.0') && hosts.every((host) => isIPv4(host) || host === 'localhost');
}
