/**
 * The server under load: a number of connections, the same few requests over and over, every status
 * an outcome.
 *
 * Requests are encoded once, so that the generator uses little of a processor that it may share
 * with the server. There are no retries: rejections must show.
 */

import type { Duration__Output } from '../../contract/generated/google/protobuf/Duration.js';
import type { ClassifyResponse__Output } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import type { ModelVersion__Output } from '../../contract/generated/vitserve/v1/ModelVersion.js';
import { messageOf, SetupError } from '../../errors.js';
import { type ClientOptions, VitserveClient, VitserveError } from '../client.js';
import type { Outcome } from './tally.js';

export interface TargetOptions {
  /** `host:port`. */
  readonly address: string;
  readonly connections: number;
  /** Image files, sent in turns. */
  readonly images: readonly Uint8Array[];
  /** Empty: the server's default model. */
  readonly model: string;
  readonly topK: number;
  readonly timeoutMs: number;
  /** Certificates and token. Absent: plaintext, no token. */
  readonly client?: Pick<ClientOptions, 'tls' | 'token'>;
}

/** How long the first call may take. */
const PROBE_TIMEOUT_MS = 5_000;

export class Target {
  readonly #clients: readonly VitserveClient[];
  readonly #requests: readonly Buffer[];
  readonly #options: TargetOptions;
  #next = 0;

  constructor(options: TargetOptions) {
    const { address, connections, images, model, topK, client } = options;
    this.#options = options;
    this.#clients = Array.from(
      { length: connections },
      () => new VitserveClient(address, { ...client, retries: false, ownConnection: true }),
    );
    this.#requests = images.map((image) => VitserveClient.encodeClassify({ image, model, topK }));
  }

  /** Which model will answer. Throws SetupError if there is no such server or model. */
  async probe(): Promise<ModelVersion__Output> {
    const { address, model: name } = this.#options;
    const [client] = this.#clients as readonly [VitserveClient];
    try {
      const { model } = await client.getModel(name, { timeoutMs: PROBE_TIMEOUT_MS });
      return model ?? { name, version: '', executionProvider: '' };
    } catch (error) {
      throw error instanceof VitserveError
        ? new SetupError('environment', [probeProblem(address, error)])
        : error;
    }
  }

  /** Sends the next image on the next connection. Never rejects. */
  readonly send = async (): Promise<Outcome> => {
    const at = this.#next++;
    const client = this.#clients[at % this.#clients.length] as VitserveClient;
    const request = this.#requests[at % this.#requests.length] as Buffer;
    try {
      const { timing } = await client.classifyEncoded(request, {
        timeoutMs: this.#options.timeoutMs,
      });
      return { code: 'OK', reason: '', message: '', timing: timingOf(timing) };
    } catch (error) {
      const { code, reason } =
        error instanceof VitserveError ? error : { code: 'UNKNOWN', reason: '' };
      return { code, reason, message: messageOf(error), timing: null };
    }
  };

  close(): void {
    for (const client of this.#clients) client.close();
  }
}

function probeProblem(address: string, { code, reason, message }: VitserveError): string {
  if (code === 'UNAVAILABLE' && reason === '') {
    return `no server answers at ${address} (${message}): start one with "vitserve serve", or give another --address`;
  }
  if (code === 'UNIMPLEMENTED')
    return `the server at ${address} is not a vitserve (${message}): give another --address`;
  if (reason === 'MODEL_UNKNOWN') return `${message}: give another --model`;
  return `the server at ${address} does not name its model (${code}: ${message})`;
}

function timingOf(timing: ClassifyResponse__Output['timing']): Outcome['timing'] {
  if (timing === null) return null;
  const { decode, queue, inference, batchSize } = timing;
  return {
    decodeMs: milliseconds(decode),
    queueMs: milliseconds(queue),
    inferenceMs: milliseconds(inference),
    batchSize,
  };
}

function milliseconds(duration: Duration__Output | null): number {
  return Number(duration?.seconds ?? 0) * 1000 + (duration?.nanos ?? 0) / 1e6;
}
