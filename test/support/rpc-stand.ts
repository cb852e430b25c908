/**
 * The gRPC server in the test's own process, in front of a pipeline that the test plays itself:
 * what calls do to their end can be brought about step by step, which no built server lets one do.
 */
import { systemClock } from '#vitserve/clock.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import type { ModelLine } from '#vitserve/server/models/model-line.js';
import type { Answer, ImageRequest } from '#vitserve/server/pipeline/pipeline.js';
import { RpcServer, type RpcServerOptions } from '#vitserve/server/rpc/server.js';
import type { Scope } from './server.js';

export const STREAM_REQUEST = 'vitserve.v1.ClassifyStreamRequest';
export const STREAM_RESPONSE = 'vitserve.v1.ClassifyStreamResponse';

const MODEL = {
  name: 'tiny',
  version: '1',
  executionProvider: 'cpu',
  fallbackReason: null,
  labels: ['one', 'two'],
  inputHeight: 8,
  inputWidth: 8,
  embeddingSize: 0,
  maxBatchSize: 1,
};
const LINE = { model: MODEL } as unknown as ModelLine;

export const ANSWER: Answer = {
  predictions: [{ classIndex: 0, score: 1 }],
  embedding: [],
  decodeMs: 0,
  queueMs: 0,
  inferenceMs: 0,
  batchSize: 1,
};

export interface RpcStandOptions
  extends Partial<Pick<RpcServerOptions, 'maxImageBytes' | 'uploadTimeoutMs' | 'reflection'>> {
  readonly permits?: number;
  /** What the pipeline makes of an image; answers at once where not given. */
  readonly answer?: (request: ImageRequest) => Promise<Answer>;
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
      permits = 8,
      uploadTimeoutMs = 30_000,
      maxImageBytes = 2 ** 20,
      reflection = false,
    } = options;
    const { answer = () => Promise.resolve(ANSWER) } = options;
    const admission = new Admission({
      permits: new Permits(permits, systemClock),
      clock: systemClock,
      maxUploads: () => permits,
      uploadTimeoutMs,
    });
    admission.gate = 'OPEN';
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
      checkDeadline: () => {},
      imagesPerSecond: () => 100,
      warmUpToken: '',
      tlsCert: null,
      tlsKey: null,
      tlsClientCa: null,
      tokenFile: null,
      admission,
      clock: systemClock,
      answer: (request) => answer(request),
      models: () => ({ resolve: () => LINE, list: () => [LINE] }),
      observer: {
        callBegan: (path) => ({
          requestId: '',
          headersReceived: () => {},
          authenticated: () => {},
          imageReceived: () => {},
          streamImageEnded: (_record, code, reason) =>
            images.push(`${code} ${reason ?? ''}`.trim()),
          failed: () => {},
          ended: (code, reason) =>
            ended.push(`${path.slice(path.lastIndexOf('/') + 1)} ${code} ${reason ?? ''}`.trim()),
        }),
        connectionsOpen: () => {},
        connectionRefused: () => {},
        credentialLoaded: () => {},
        credentialKept: () => {},
        rejectionHeld: () => {},
        rejectionsHeld: () => {},
      },
    });
    scope.after(() => server.close(0));
    return new RpcStand(server, admission, ended, images);
  }

  /** As the service stops it. Resolves to whether every call ended by itself within the time. */
  async stop(timeoutMs: number): Promise<boolean> {
    this.admission.gate = 'DRAINING';
    this.server.drainStreams();
    return await this.server.close(timeoutMs);
  }
}
