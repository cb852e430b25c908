/**
 * The configuration for the rest of the program: plain, complete, checked values.
 *
 * `options.ts` holds a table of the same shape (`OptionTable<ServeSettings>`), so a setting without
 * an option, or an option without a setting, does not compile. Names contain units; the table says
 * what each setting means.
 */

import type { Address, ExecutionProvider } from './value-types.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
export type LogFormat = 'auto' | 'json' | 'pretty';

export interface ServeSettings {
  /** Absolute path, or null: no config file. */
  readonly config: string | null;
  readonly address: Address;
  readonly httpAddress: Address;
  readonly reflection: boolean;
  /** Absolute paths of PEM files, both or neither. */
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  /** Absolute path; null: callers need no certificate. */
  readonly tlsClientCa: string | null;
  /** Absolute path; null: callers need no token. */
  readonly tokenFile: string | null;
  readonly healthAddress: Address | null;
  /** Absolute path. */
  readonly modelRepository: string;
  /** Empty: the only model of the repository. */
  readonly defaultModel: string;
  readonly allowRandomWeights: boolean;
  /** 0: the repository is read at start and on SIGHUP only. */
  readonly modelsPollIntervalMs: number;
  readonly executionProvider: ExecutionProvider;
  readonly inferenceProcesses: number | 'auto';
  readonly inferenceThreads: number | 'auto';
  readonly decoderProcesses: number | 'auto';
  readonly jpegDecoder: 'auto' | 'sharp';
  /** Absolute path. */
  readonly sharedMemoryDir: string;
  readonly maxBatchSize: number | 'auto';
  readonly permits: number | 'auto';
  readonly uploadTimeoutMs: number;
  readonly maxConnections: number;
  /** 0: for ever. */
  readonly maxConnectionAgeMs: number;
  readonly maxImageBytes: number;
  readonly maxImagePixels: number;
  readonly inferenceTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly drainDelayMs: number;
  readonly drainTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** 0: no call that was answered is logged. */
  readonly logSample: number;
}

export interface ClassifySettings {
  readonly address: Address;
  /** Absolute paths of PEM files. Without any of the three the connection is not encrypted. */
  readonly tlsCa: string | null;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  /** Absolute path. */
  readonly tokenFile: string | null;
  /** Empty: the server's default model. */
  readonly model: string;
  readonly topK: number;
  readonly timeoutMs: number;
  readonly concurrency: number;
  readonly json: boolean;
}
