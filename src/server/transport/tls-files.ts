/**
 * Parses the certificate, key and client authorities of the server from PEM files into a TLS
 * context of Node.
 *
 * It finds everything that would make handshakes fail later: a key of another certificate, an
 * expired certificate, an empty list of authorities. So files that pass can be used at once, and
 * files that do not are never used.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { messageOf, SetupError } from '../../errors.js';
import type { WatchedFile } from './watched-files.js';

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** null: callers need no certificate. */
  readonly clientCa: string | null;
}

export interface TlsMaterial {
  readonly context: SecureContextOptions;
  /** When the first certificate of each file expires, in milliseconds since the epoch. */
  readonly expiresAt: { readonly server: number; readonly clientCa: number | null };
  /** Of the server certificate; in capitals with colons, as other tools print it. */
  readonly fingerprint256: string;
}

/**
 * All of TLS 1.3, and those of TLS 1.2 that HTTP/2 allows (RFC 9113, appendix A): forward secret
 * and authenticated.
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

export function watchedTlsFiles({ cert, key, clientCa }: TlsFiles): readonly WatchedFile[] {
  return [
    { option: 'tls-cert', path: cert },
    { option: 'tls-key', path: key },
    ...(clientCa === null ? [] : [{ option: 'tls-client-ca', path: clientCa }]),
  ];
}

/** `contents` in the order of `watchedTlsFiles`. Throws a SetupError that lists all problems. */
export function parseTlsFiles(
  files: TlsFiles,
  contents: readonly Buffer[],
  nowMs = Date.now(),
): TlsMaterial {
  const [cert = Buffer.alloc(0), key = Buffer.alloc(0), ca] = contents;
  const problems: string[] = [];
  const attempt = <Value>(where: string, advice: string, work: () => Value): Value | null => {
    try {
      return work();
    } catch (error) {
      problems.push(`${where} ${advice} (${messageOf(error)})`);
      return null;
    }
  };

  const chain = attempt(`tls-cert: ${files.cert}`, 'holds a certificate that is damaged', () =>
    certificatesIn(cert),
  );
  const [own] = chain ?? [];
  if (chain !== null && own === undefined) {
    problems.push(
      `tls-cert: ${files.cert} holds no certificate in PEM form: ` +
        "give the server's, then its intermediates",
    );
  }
  const privateKey = attempt(
    `tls-key: ${files.key}`,
    'is no private key in PEM form without a passphrase',
    () => createPrivateKey(key),
  );
  if (own !== undefined && privateKey !== null && !own.checkPrivateKey(privateKey)) {
    problems.push(`tls-key: ${files.key} is not the key of the certificate in ${files.cert}`);
  }
  if (own !== undefined) {
    if (Date.parse(own.validTo) <= nowMs)
      problems.push(`tls-cert: ${files.cert} has expired (${own.validTo}): renew it`);
    if (Date.parse(own.validFrom) > nowMs) {
      problems.push(
        `tls-cert: ${files.cert} is not valid before ${own.validFrom}: ` +
          'check the clock of this machine',
      );
    }
  }

  let authorities: readonly X509Certificate[] | null = null;
  if (files.clientCa !== null) {
    const where = `tls-client-ca: ${files.clientCa}`;
    authorities = attempt(where, 'holds a certificate that is damaged', () =>
      certificatesIn(ca ?? Buffer.alloc(0)),
    );
    if (authorities?.length === 0) {
      problems.push(
        `${where} holds no certificate in PEM form: ` +
          "give those of the authorities that sign callers' certificates",
      );
    }
  }

  const context: SecureContextOptions = {
    cert,
    key,
    // Without a list Node would trust every authority of the system.
    ...(files.clientCa === null ? {} : { ca: (authorities ?? []).map(String) }),
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    honorCipherOrder: true,
  };
  if (problems.length === 0) {
    attempt(`tls-cert: ${files.cert}`, "can't be used together with its key", () =>
      createSecureContext(context),
    );
  }
  if (problems.length > 0 || own === undefined) throw new SetupError('environment', problems);
  return {
    context,
    expiresAt: {
      server: earliestEnd(chain ?? []),
      clientCa: authorities === null ? null : earliestEnd(authorities),
    },
    fingerprint256: own.fingerprint256,
  };
}

function certificatesIn(pem: Buffer): X509Certificate[] {
  return [...pem.toString('latin1').matchAll(PEM_CERTIFICATE)].map(
    ([text]) => new X509Certificate(text),
  );
}

function earliestEnd(certificates: readonly X509Certificate[]): number {
  return Math.min(...certificates.map(({ validTo }) => Date.parse(validTo)));
}
