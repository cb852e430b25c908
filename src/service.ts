/**
 * The composition root: builds the rooms in the order in which the data flows, and takes them down again.
 *
 * Starting: addresses are bound and the model is read first, so that every start-up problem shows at once; then the
 * processes, then the exercise, then ready. Draining: not ready first, then no new calls, then the rest.
 */
import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { VitserveClient } from './client/client.js';
import { type Clock, systemClock } from './clock.js';
import type { ServeSettings } from './config/settings.js';
import { DecoderPool } from './decode/decoder-pool.js';
import { RequestError, SetupError } from './errors.js';
import { InferencePool } from './inference/inference-pool.js';
import { Lifecycle, type LifecycleState } from './lifecycle.js';
import { loadModel, type Model } from './model/repository.js';
import { Admission } from './pipeline/admission.js';
import { exercise } from './pipeline/exercise.js';
import { Permits } from './pipeline/permits.js';
import { Pipeline } from './pipeline/pipeline.js';
import type { ServedModel } from './pipeline/served-model.js';
import { availableCores } from './process/cores.js';
import type { ChildObserver } from './process/supervised-child.js';
import { WARM_UP_KEY } from './rpc/admission-interceptor.js';
import { RpcServer } from './rpc/server.js';
import { SLOT_HEADER_BYTES, SlotFile } from './slots/slots.js';
import { type HttpServer, listenHttp } from './telemetry/http.js';
import type { Logger } from './telemetry/log.js';
import { createMetrics, type Metrics } from './telemetry/metrics.js';
import {
  createCallObserver,
  createChildObserver,
  createPipelineObserver,
  watchAdmission,
} from './telemetry/observers.js';

/** Permits while the line is exercised; more are given once it is known what the machine can do. */
const EXERCISE_PERMITS = 128;
/** Few permits refuse bursts that would have been answered in no time. */
const FEWEST_PERMITS = 64;
const MOST_PERMITS = 65_536;
/** How much of the free shared memory the slots may take when their number is the server's to choose. */
const SLOT_SHARE_OF_FREE_MEMORY = 0.5;
/** The size of an ordinary photo, as drawn for the exercise. */
const DRAWN_WIDTH = 500;
const DRAWN_HEIGHT = 375;
/** First calls through the gRPC server, which wake its JIT compiler. */
const WARM_UP_CALLS = 64;

export class Service {
  readonly #settings: ServeSettings;
  readonly #log: Logger;
  readonly #clock: Clock = systemClock;
  readonly #metrics: Metrics = createMetrics();
  readonly #lifecycle = new Lifecycle();
  readonly #permits = new Permits(0, this.#clock);
  readonly #admission: Admission;
  readonly #warmUpToken = randomBytes(16).toString('hex');
  readonly #childObserver: ChildObserver;
  #rpc: RpcServer | null = null;
  #http: HttpServer | null = null;
  #slots: SlotFile | null = null;
  #decoders: DecoderPool | null = null;
  #inference: InferencePool | null = null;
  #pipeline: Pipeline | null = null;
  #model: ServedModel | null = null;

  constructor(settings: ServeSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#admission = new Admission({
      permits: this.#permits,
      clock: this.#clock,
      maxUploads: () => (settings.maxUploads === 'auto' ? this.#permits.limit : settings.maxUploads),
      uploadTimeoutMs: settings.uploadTimeoutMs,
    });
    watchAdmission(this.#metrics, this.#admission);
    const observer = createChildObserver(this.#metrics, log);
    this.#childObserver = {
      childLine: observer.childLine,
      childReady: (...about) => {
        observer.childReady(...about);
        this.#showHealth();
      },
      childLost: (...about) => {
        observer.childLost(...about);
        this.#showHealth();
      },
    };
    this.#lifecycle.watch((state) => this.#showState(state));
    this.#showState('starting');
  }

  get state(): LifecycleState {
    return this.#lifecycle.state;
  }

  /** Resolves when calls are answered. Rejects with SetupError, with everything that was begun taken down. */
  async start(): Promise<{ readonly port: number; readonly httpPort: number }> {
    const startedAt = this.#clock.now();
    try {
      const model = await this.#bindAndLoad();
      const picture = await this.#startLine(model);
      await this.#warmUpCalls(picture);
      this.#admission.gate = 'OPEN';
      this.#lifecycle.to('serving');
    } catch (error) {
      if (this.state === 'starting') this.#lifecycle.to('failed');
      await this.#takeDown();
      throw error;
    }
    const port = this.#rpc?.port ?? 0;
    const httpPort = this.#http?.port ?? 0;
    const { address, httpAddress } = this.#settings;
    const startMs = Math.round(this.#clock.now() - startedAt);
    this.#log.info({ address: `${address.host}:${port}`, http: `${httpAddress.host}:${httpPort}`, startMs }, 'serving');
    return { port, httpPort };
  }

  /** Stops as an orderly server does. Resolves to whether every admitted call was answered. */
  async drain(): Promise<boolean> {
    const { drainDelayMs, drainTimeoutMs } = this.#settings;
    this.#lifecycle.to('draining');
    await new Promise((resolve) => setTimeout(resolve, drainDelayMs));
    this.#admission.gate = 'DRAINING';
    this.#rpc?.drainStreams();
    const inTime = (await this.#rpc?.close(drainTimeoutMs)) ?? true;
    await this.#takeDown();
    this.#lifecycle.to('stopped');
    return inTime;
  }

  /** Everything that needs no process, at the same time, so that all that is wrong is reported at once. */
  async #bindAndLoad(): Promise<Model> {
    const { address, httpAddress, models, model, allowRandomWeights } = this.#settings;
    const [rpc, http, loaded] = await Promise.allSettled([
      RpcServer.listen({
        ...address,
        maxImageBytes: this.#settings.maxImageBytes,
        reflection: this.#settings.reflection,
        warmUpToken: this.#warmUpToken,
        admission: this.#admission,
        clock: this.#clock,
        observer: createCallObserver(this.#metrics, this.#log),
        answer: (request, permit) => this.#served(this.#pipeline).answer(request, permit),
        model: () => this.#served(this.#model),
      }),
      listenHttp({
        ...httpAddress,
        registry: this.#metrics.registry,
        readiness: () => ({ ready: this.#canAnswer(), text: this.#readinessText() }),
      }),
      loadModel(models, model, { allowRandomWeights }),
    ]);
    if (rpc.status === 'fulfilled') this.#rpc = rpc.value;
    if (http.status === 'fulfilled') this.#http = http.value;
    const failures = [rpc, http, loaded].flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    if (failures.length > 0) throw mergeFailures(failures);
    return (loaded as PromiseFulfilledResult<Model>).value;
  }

  /** Resolves with the picture that the line was exercised with. */
  async #startLine(model: Model): Promise<Buffer> {
    const settings = this.#settings;
    const { input, labels, preprocessing } = model.manifest;
    const layout = { pixelBytes: input.height * input.width * 3 };
    const firstPermits = settings.permits === 'auto' ? EXERCISE_PERMITS : settings.permits;
    const slots = SlotFile.create(settings.sharedMemoryDir, layout, firstPermits);
    this.#slots = slots;

    const [decoders, inference] = await Promise.allSettled([
      DecoderPool.create(preprocessing, input, slots, settings, this.#childObserver),
      InferencePool.create(model, slots, settings, this.#childObserver),
    ]);
    if (decoders.status === 'fulfilled') this.#decoders = decoders.value;
    if (inference.status === 'fulfilled') this.#inference = inference.value;
    if (decoders.status === 'rejected' || inference.status === 'rejected') {
      throw mergeFailures([decoders, inference].flatMap((pool) => (pool.status === 'rejected' ? [pool.reason] : [])));
    }
    const { executionProvider, fallbackReason, maxBatchSize, embeddingSize } = inference.value;
    const pipeline = new Pipeline({
      slots,
      decoders: decoders.value.lanes,
      inference: inference.value.lanes,
      maxBatchSize,
      maxImageBytes: settings.maxImageBytes,
      clock: this.#clock,
      observer: createPipelineObserver(this.#metrics),
    });
    this.#pipeline = pipeline;
    this.#model = {
      name: model.name,
      version: model.version,
      executionProvider,
      labels,
      inputHeight: input.height,
      inputWidth: input.width,
      embeddingSize,
      maxBatchSize,
    };
    this.#metrics.modelInfo.set(
      { model: model.name, version: model.version, execution_provider: executionProvider },
      1,
    );
    this.#metrics.providerFallback.set(fallbackReason === null ? 0 : 1);
    if (fallbackReason !== null)
      this.#log.warn({ reason: fallbackReason }, 'CUDA is not available: running on the CPU');
    const { jpegFallback } = decoders.value;
    if (jpegFallback !== null) {
      const { why, expected } = jpegFallback;
      this.#log[expected ? 'info' : 'warn'](
        { reason: why },
        'without libturbojpeg: sharp decodes JPEG and takes longer',
      );
    }

    this.#permits.raise(firstPermits);
    const busy = 2 * decoders.value.lanes.length + 2 * maxBatchSize * inference.value.lanes.length;
    const concurrency = Math.min(busy, firstPermits);
    const picture = await decoders.value.draw(...drawnSize(settings));
    const { imagesPerSecond } = await exercise(pipeline, this.#permits, picture, concurrency, this.#clock);
    if (settings.permits === 'auto') this.#givePermits(slots, imagesPerSecond);
    this.#metrics.slotBytes.set(slots.bytes);
    this.#log.info(
      {
        model: `${model.name}/${model.version}`,
        executionProvider,
        inferenceProcesses: inference.value.lanes.length,
        decoderProcesses: decoders.value.lanes.length,
        jpegDecoder: decoders.value.jpegDecoder,
        cores: availableCores(),
        maxBatchSize,
        permits: this.#permits.limit,
        imagesPerSecond: Math.round(imagesPerSecond),
      },
      'exercised',
    );
    return picture;
  }

  /** As many as are finished in a second, as far as there is shared memory for their slots. */
  #givePermits(slots: SlotFile, imagesPerSecond: number): void {
    const { bavail, bsize } = statfsSync(this.#settings.sharedMemoryDir);
    const room = Math.floor(
      (bavail * bsize * SLOT_SHARE_OF_FREE_MEMORY) / (slots.layout.pixelBytes + SLOT_HEADER_BYTES),
    );
    const wanted = Math.min(Math.max(Math.round(imagesPerSecond), FEWEST_PERMITS), MOST_PERMITS);
    const permits = Math.min(wanted, this.#permits.limit + room);
    slots.grow(permits);
    this.#permits.raise(permits);
  }

  /** The first calls through the gRPC server are the server's own, so that no caller pays for cold code. */
  async #warmUpCalls(image: Buffer): Promise<void> {
    const { host } = this.#settings.address;
    const local = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
    const client = new VitserveClient(`${local.includes(':') ? `[${local}]` : local}:${this.#rpc?.port}`, {
      retries: false,
    });
    try {
      const metadata = { [WARM_UP_KEY]: this.#warmUpToken };
      let left = Math.min(WARM_UP_CALLS, 4 * this.#permits.limit);
      const caller = async () => {
        while (left-- > 0) await client.classify({ image }, { metadata, timeoutMs: this.#settings.startTimeoutMs });
      };
      await Promise.all(Array.from({ length: Math.min(4, this.#permits.limit) }, caller));
    } finally {
      client.close();
    }
  }

  #served<T>(part: T | null): T {
    if (part === null) throw new RequestError('STARTING', 'the server is still starting');
    return part;
  }

  #canAnswer(): boolean {
    const anyReady = (pool: DecoderPool | InferencePool | null) => pool?.lanes.some((lane) => lane.ready) ?? false;
    return this.state === 'serving' && anyReady(this.#decoders) && anyReady(this.#inference);
  }

  #readinessText(): string {
    if (this.state !== 'serving') return this.state;
    return this.#canAnswer() ? 'ready' : 'waiting for a process to be replaced';
  }

  #showHealth(): void {
    if (this.#rpc !== null) this.#rpc.health.serving = this.#canAnswer();
  }

  #showState(state: LifecycleState): void {
    this.#metrics.state.reset();
    for (const each of ['starting', 'serving', 'draining', 'stopped', 'failed'] as const) {
      this.#metrics.state.set({ state: each }, each === state ? 1 : 0);
    }
    this.#showHealth();
    this.#log.info({ state }, 'state');
  }

  async #takeDown(): Promise<void> {
    await this.#rpc?.close(0);
    await Promise.all([this.#decoders?.stop(), this.#inference?.stop()]);
    await this.#http?.close();
    this.#slots?.close();
    this.#slots = null;
  }
}

/** Width and height of an ordinary photo, or what the limits let in of it: a drawn JPEG has less than half a byte a pixel and 1,000 more. */
function drawnSize({ maxImageBytes, maxImagePixels }: ServeSettings): [number, number] {
  const pixels = Math.min(DRAWN_WIDTH * DRAWN_HEIGHT, maxImagePixels, 2 * Math.max(maxImageBytes - 1000, 0));
  const width = Math.max(1, Math.floor(Math.sqrt((pixels * DRAWN_WIDTH) / DRAWN_HEIGHT)));
  return [width, Math.max(1, Math.floor(pixels / width))];
}

/** All problems of several failures as one; a failure that is no SetupError goes first, as it is. */
function mergeFailures(failures: readonly unknown[]): unknown {
  const foreign = failures.find((failure) => !(failure instanceof SetupError));
  if (foreign !== undefined) return foreign;
  const setup = failures as readonly SetupError[];
  const kind = setup.some((failure) => failure.kind === 'usage') ? 'usage' : 'environment';
  return new SetupError(
    kind,
    setup.flatMap(({ problems }) => problems),
  );
}
