/**
 * Certificates and token of a command that calls a server, read from the files that its options
 * name.
 */
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { ClassifySettings } from '../cli/settings.js';
import { messageOf, SetupError } from '../errors.js';
import { tokensIn } from '../token-file.js';
import type { ClientOptions } from './client.js';

export type ClientSettings = Pick<ClassifySettings, 'tlsCa' | 'tlsCert' | 'tlsKey' | 'tokenFile'>;

/** Throws SetupError for files that can't be read or hold nothing useful. */
export async function clientOptions({
  tlsCa,
  tlsCert,
  tlsKey,
  tokenFile,
}: ClientSettings): Promise<ClientOptions> {
  const problems: string[] = [];
  const read = async (option: string, path: string | null): Promise<Buffer | null> => {
    if (path === null) return null;
    return await readFile(path).catch((error: unknown) => {
      problems.push(`${option}: can't read ${path} (${messageOf(error)})`);
      return null;
    });
  };
  const [ca, cert, key, tokens] = await Promise.all([
    read('tls-ca', tlsCa),
    read('tls-cert', tlsCert),
    read('tls-key', tlsKey),
    read('token-file', tokenFile),
  ]);
  if (problems.length > 0) throw new SetupError('environment', problems);
  const [token] = tokens === null ? [] : tokensIn(String(tokens), tokenFile ?? '');
  try {
    createSecureContext({ ca: ca ?? undefined, cert: cert ?? undefined, key: key ?? undefined });
  } catch (error) {
    const text = `tls-ca, tls-cert or tls-key is not PEM, or the key does not belong to the certificate (${messageOf(error)})`;
    throw new SetupError('environment', [text]);
  }
  const tls = {
    ...(ca === null ? {} : { ca }),
    ...(cert === null || key === null ? {} : { identity: { cert, key } }),
  };
  return {
    ...(ca === null && cert === null ? {} : { tls }),
    ...(token === undefined ? {} : { token }),
  };
}
