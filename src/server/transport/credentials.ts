/**
 * The credentials of the server: its certificate, the authorities of client certificates, and the
 * tokens. It reads them from files, reads those again while the server runs, and uses new content
 * without losing a connection or call.
 */
import type { SecureContextOptions } from 'node:tls';
import type { Clock } from '../../clock.js';
import { allOrProblems, messageOf, SetupError } from '../../errors.js';
import { tokensIn } from '../../token-file.js';
import type { CredentialKind, Report } from '../telemetry/events.js';
import { parseTlsFiles, type TlsMaterial, watchedTlsFiles } from './tls-files.js';
import { Tokens } from './tokens.js';
import { WatchedFiles } from './watched-files.js';

/** Kubernetes takes about a minute to write a changed Secret to the files. */
export const LOOK_INTERVAL_MS = 10_000;

export interface CredentialSettings {
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly tlsClientCa: string | null;
  readonly tokenFile: string | null;
}

export class Credentials {
  readonly #clock: Clock;
  readonly #report: Report;
  readonly #tls: WatchedFiles<TlsMaterial> | null;
  readonly #tokens: WatchedFiles<Tokens> | null;
  #useTls: (context: SecureContextOptions) => void = () => {};

  private constructor(
    clock: Clock,
    report: Report,
    tls: WatchedFiles<TlsMaterial> | null,
    tokens: WatchedFiles<Tokens> | null,
  ) {
    this.#clock = clock;
    this.#report = report;
    this.#tls = tls;
    this.#tokens = tokens;
    if (tls !== null) this.#loaded('certificate');
    if (tokens !== null) this.#loaded('tokens');
  }

  /** Rejects with SetupError where a file cannot be used. */
  static async open(
    settings: CredentialSettings,
    clock: Clock,
    report: Report,
  ): Promise<Credentials> {
    const { tlsCert, tlsKey, tlsClientCa, tokenFile } = settings;
    const [tls, tokens] = await allOrProblems([
      tlsCert === null || tlsKey === null
        ? null
        : openTls({ cert: tlsCert, key: tlsKey, clientCa: tlsClientCa }),
      tokenFile === null ? null : openTokens(tokenFile),
    ]);
    return new Credentials(clock, report, tls, tokens);
  }

  /** The TLS context of the server; null: plaintext. */
  get tls(): SecureContextOptions | null {
    return this.#tls?.value.context ?? null;
  }

  /**
   * `authorization`: all values of that metadata key. Throws RequestError TOKEN_INVALID where the
   * server has tokens and this is not one of them.
   */
  authenticate(authorization: readonly (string | Buffer)[]): void {
    this.#tokens?.value.check(authorization);
  }

  /** Looks every LOOK_INTERVAL_MS from now on; `useTls` gets the context for new connections. */
  watch(useTls: (context: SecureContextOptions) => void): void {
    this.#useTls = useTls;
    this.#tls?.watch(this.#clock, LOOK_INTERVAL_MS, () => this.#lookAt('certificate'));
    this.#tokens?.watch(this.#clock, LOOK_INTERVAL_MS, () => this.#lookAt('tokens'));
  }

  /** Looks now. Never rejects: it reports the outcome. */
  async look(): Promise<void> {
    await Promise.all([this.#lookAt('certificate'), this.#lookAt('tokens')]);
  }

  stop(): void {
    this.#tls?.stop();
    this.#tokens?.stop();
  }

  async #lookAt(kind: CredentialKind): Promise<void> {
    try {
      const isNew = await (kind === 'certificate' ? this.#tls : this.#tokens)?.look();
      if (isNew !== true) return;
      if (kind === 'certificate' && this.#tls !== null) this.#useTls(this.#tls.value.context);
      this.#loaded(kind);
    } catch (error) {
      const problems = error instanceof SetupError ? error.problems : [messageOf(error)];
      this.#report({ kind: 'credentials-kept', of: kind, problems });
    }
  }

  #loaded(of: CredentialKind): void {
    if (of === 'tokens') {
      const detail = { tokens: this.#tokens?.value.count ?? 0 };
      this.#report({ kind: 'credentials-loaded', of, detail });
    } else if (this.#tls !== null) {
      const { fingerprint256, expiresAt } = this.#tls.value;
      const clientCa = expiresAt.clientCa === null ? {} : { clientCaExpiresAt: expiresAt.clientCa };
      const detail = { fingerprint256, expiresAt: expiresAt.server, ...clientCa };
      this.#report({ kind: 'credentials-loaded', of, detail });
    }
  }
}

function openTls(files: Parameters<typeof watchedTlsFiles>[0]): Promise<WatchedFiles<TlsMaterial>> {
  return WatchedFiles.open(watchedTlsFiles(files), (contents) => parseTlsFiles(files, contents));
}

function openTokens(path: string): Promise<WatchedFiles<Tokens>> {
  const files = [{ option: 'token-file', path }];
  return WatchedFiles.open(files, ([content]) => new Tokens(tokensIn(String(content), path)));
}
