/**
 * X.509 certificates for tests, made here because Node can read but not write them. Keys are P-256,
 * signatures ECDSA with SHA-256, encoded by hand in DER (RFC 5280 §4.1): just enough for TLS.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIPv4 } from 'node:net';

export interface Issued {
  /** PEM. */
  readonly cert: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

export interface Asked {
  readonly name: string;
  /** Names and IPv4 addresses of a host. */
  readonly hosts?: readonly string[];
  /** From now; negative: in the past. */
  readonly beginsInMs?: number;
  readonly endsInMs?: number;
}

const DAY_MS = 24 * 3_600_000;

/** A self-signed authority. */
export class Authority {
  readonly cert: string;
  readonly #name: string;
  readonly #key: KeyObject;

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#name = name;
    this.#key = privateKey;
    this.cert = certificate({ name }, true, publicKey, name, privateKey);
  }

  issue(asked: Asked): Issued {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return {
      cert: certificate(asked, false, publicKey, this.#name, this.#key),
      key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    };
  }
}

function certificate(
  asked: Asked,
  isAuthority: boolean,
  publicKey: KeyObject,
  issuer: string,
  by: KeyObject,
): string {
  const { name, hosts = [], beginsInMs = -DAY_MS, endsInMs = DAY_MS } = asked;
  const algorithm = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
  const basicConstraints = sequence(...(isAuthority ? [der(0x01, Buffer.from([0xff]))] : []));
  const alternativeNames = sequence(
    ...hosts.map((host) =>
      isIPv4(host) ? der(0x87, Buffer.from(host.split('.').map(Number))) : der(0x82, host),
    ),
  );
  const extensions = [
    extension([0x55, 0x1d, 0x13], basicConstraints),
    ...(hosts.length > 0 ? [extension([0x55, 0x1d, 0x11], alternativeNames)] : []),
  ];
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    distinguished(issuer),
    sequence(utcTime(Date.now() + beginsInMs), utcTime(Date.now() + endsInMs)),
    distinguished(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', signed, by));
  const base64 = sequence(signed, algorithm, signature).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${(base64.match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;
}

function der(tag: number, ...content: (Buffer | string)[]): Buffer {
  const body = Buffer.concat(content.map((part) => Buffer.from(part as Buffer)));
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

function sequence(...content: Buffer[]): Buffer {
  return der(0x30, ...content);
}

/** The bytes are the encoded identifier. */
function oid(...bytes: number[]): Buffer {
  return der(0x06, Buffer.from(bytes));
}

function distinguished(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, commonName))));
}

function extension(identifier: readonly number[], value: Buffer): Buffer {
  return sequence(oid(...identifier), der(0x04, value));
}

function utcTime(ms: number): Buffer {
  return der(0x17, `${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`);
}
