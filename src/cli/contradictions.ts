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
        ? `address ${formatAddress(address)} and http-address ${formatAddress(httpAddress)} use the same port: ` +
          'give gRPC and HTTP one each'
        : undefined,
  },
  {
    looksAt: ['address', 'httpAddress', 'healthAddress'],
    problem: ({ address, httpAddress, healthAddress }) =>
      healthAddress !== null &&
      (overlap(address, healthAddress) || overlap(httpAddress, healthAddress))
        ? `health-address ${formatAddress(healthAddress)} uses the port of address or http-address: give it its own`
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
        ? 'tls-client-ca needs TLS: give tls-cert and tls-key too'
        : undefined,
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
    ? 'tls-key needs its certificate: give tls-cert too'
    : 'tls-cert needs its key: give tls-key too';
}

/** Whether two listeners overlap. Names are compared as text: the loader does not resolve them. */
function overlap(one: Address, other: Address): boolean {
  if (one.port !== other.port || one.port === 0) return false;
  const hosts = [one.host, other.host];
  if (one.host === other.host || hosts.includes('::')) return true;
  return hosts.includes('0.0.0.0') && hosts.every((host) => isIPv4(host) || host === 'localhost');
}
