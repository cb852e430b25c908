/**
 * The gRPC server in the process of the test, in front of a pipeline that the test plays itself: so
 * the test can drive a call to its end step by step.
 */
import { systemClock } from '#vitserve/clock.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import type { ModelInfo, ServedModel } from '#vitserve/server/models/served-model.js';
import type { ImageRequest } from '#vitserve/server/pipeline/pipeline.js';
import type { CallEngine } from '#vitserve/server/rpc/methods.js';
import { RpcServer, type RpcServerOptions } from '#vitserve/server/rpc/server.js';
import type { InferenceOutput } from '#vitserve/workers/inference/messages.js';
import type { Scope } from './scope.js';

export const STREAM_REQUEST = 'vitserve.v1.ClassifyStreamRequest';
export const STREAM_RESPONSE = 'vitserve.v1.ClassifyStreamResponse';

const INFO: ModelInfo = {
  name: 'tiny',
  version: '1',
  executionProvider: 'cpu',
  fallbackReason: null,
  slowForm: null,
  labels: ['one', 'two'],
  inputHeight: 8,
  inputWidth: 8,
  embeddingSize: 0,
  maxBatchSize: 1,
};
const MODEL = { info: INFO } as ServedModel;

export const ANSWER: InferenceOutput = {
  predictions: [{ classIndex: 0, score: 1 }],
  embedding: new Float32Array(),
  executionMs: 0,
  batchSize: 1,
};

export interface RpcStandOptions
  extends Partial<Pick<RpcServerOptions, 'maxImageBytes' | 'uploadTimeoutMs' | 'reflection'>> {
  readonly permits?: number;
  /** What the pipeline does with an image; default: it answers at once. */
  readonly answer?: (request: ImageRequest) => Promise<InferenceOutput>;
}

export class RpcStand {
  readonly server: RpcServer;
  readonly admission: Admission;
  /** `METHOD CODE REASON` of every call that has ended, in that order. */
  readonly ended: string[];
  /** `CODE REASON` of every image of a stream that was answered, in that order. */
  readonly images: string[];

  private constructor(server: RpcServer, admission: Admission, ended: string[], images: string[]) {
    this.server = server;
    this.admission = admission;
    this.ended = ended;
    this.images = images;
  }

  get port(): number {
    return this.server.port;
  }

  /** Listens on a free port until the scope ends. */
  static async open(scope: Scope, options: RpcStandOptions = {}): Promise<RpcStand> {
    const {
      permits: limit = 8,
      uploadTimeoutMs = 30_000,
      maxImageBytes = 2 ** 20,
      reflection = false,
    } = options;
    const { answer = () => Promise.resolve(ANSWER) } = options;
    const permits = new Permits(limit, systemClock);
    const admission = new Admission({ permits, clock: systemClock, uploadTimeoutMs });
    admission.gate = 'OPEN';
    const engine: CallEngine = {
      permits,
      admission,
      imagesPerSecond: 100,
      checkDeadline: () => {},
      resolve: () => MODEL,
      list: () => [MODEL],
      classify: (request) => answer(request),
    };
    const ended: string[] = [];
    const images: string[] = [];
    const server = await RpcServer.listen({
      address: { host: '127.0.0.1', port: 0 },
      healthAddress: null,
      maxImageBytes,
      uploadTimeoutMs,
      maxConnections: 100,
      maxConnectionAgeMs: 0,
      reflection,
      warmUpToken: '',
      tlsCert: null,
      tlsKey: null,
      tlsClientCa: null,
      tokenFile: null,
      engine,
      clock: systemClock,
      report: (event) => {
        if (event.kind === 'stream-image-ended')
          images.push(`${event.code} ${event.reason ?? ''}`.trim());
        if (event.kind === 'call-ended')
          ended.push(`${event.call.method} ${event.code} ${event.reason ?? ''}`.trim());
      },
    });
    scope.after(() => server.close(0));
    return new RpcStand(server, admission, ended, images);
  }

  /** Stops it as the service does. Resolves to whether every call ended by itself in time. */
  async stop(timeoutMs: number): Promise<boolean> {
    this.admission.gate = 'DRAINING';
    this.server.drainStreams();
    return await this.server.close(timeoutMs);
  }
}
