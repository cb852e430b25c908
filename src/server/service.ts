/**
 * The composition root: builds the rooms in the order in which the data flows, and takes them down
 * again.
 *
 * Starting: addresses are bound and the model is read first, so that every start-up problem shows
 * at once; then the processes, then the exercise, then ready. Draining: not ready first, then no
 * new calls, then the rest.
 */
import { randomBytes } from 'node:crypto';
import type { ServeSettings } from '../cli/settings.js';
import type { TracingSettings } from '../cli/tracing.js';
import { type Clock, systemClock } from '../clock.js';
import { SERVICE_NAME } from '../contract/contract.js';
import { mergeSetupErrors, RequestError } from '../errors.js';
import { loadRepository } from '../models/repository.js';
import { availableCores } from '../system/cores.js';
import type { ChildObserver } from '../workers/process/supervised-child.js';
import { Admission } from './admission/admission.js';
import { Permits } from './admission/permits.js';
import { Lifecycle, type LifecycleState } from './lifecycle.js';
import type { ModelCatalog } from './models/model-catalog.js';
import { Line, PROVING_SLOTS } from './pipeline/line.js';
import { RpcServer } from './rpc/server.js';
import { warmUpCalls } from './rpc/warm-up-calls.js';
import { type CallObserver, createCallObserver } from './telemetry/calls.js';
import { type HttpServer, listenHttp } from './telemetry/http.js';
import type { Logger } from './telemetry/log.js';
import { createMetrics, type DroppedLogLines, type Metrics } from './telemetry/metrics.js';
import {
  createCatalogObserver,
  createChildObserver,
  createConnectionObserver,
  createCredentialObserver,
  createPermitObserver,
  createPipelineObserver,
  createRejectionObserver,
  watchAdmission,
} from './telemetry/observers.js';
import type { Tracing } from './telemetry/tracing.js';

type LoadedRepository = Awaited<ReturnType<typeof loadRepository>>;

/** What the service is told beside its settings. */
export interface Surroundings {
  readonly version: string;
  /** Null: nothing is traced. */
  readonly tracing: TracingSettings | null;
  /** Lines that the log could not write, by cause. */
  readonly droppedLogLines: DroppedLogLines;
}

export class Service {
  readonly #settings: ServeSettings;
  readonly #log: Logger;
  readonly #surroundings: Surroundings;
  readonly #clock: Clock = systemClock;
  readonly #metrics: Metrics = createMetrics();
  readonly #lifecycle = new Lifecycle();
  readonly #permits = new Permits(0, this.#clock, PROVING_SLOTS);
  readonly #admission: Admission;
  readonly #warmUpToken = randomBytes(16).toString('hex');
  readonly #childObserver: ChildObserver;
  #rpc: RpcServer | null = null;
  #http: HttpServer | null = null;
  /** Absent where nothing is traced. */
  #tracing: Tracing | null = null;
  #reloadWanted = false;
  /** Absent until everything in it works. */
  #line: Line | null = null;

  constructor(settings: ServeSettings, log: Logger, surroundings: Surroundings) {
    this.#settings = settings;
    this.#log = log;
    this.#surroundings = surroundings;
    this.#metrics.hooks.droppedLogLines = surroundings.droppedLogLines;
    this.#admission = new Admission({
      permits: this.#permits,
      clock: this.#clock,
      maxUploads: () => this.#permits.limit,
      uploadTimeoutMs: settings.uploadTimeoutMs,
    });
    watchAdmission(this.#metrics, this.#admission);
    const observer = createChildObserver(this.#metrics, log);
    this.#childObserver = {
      ...observer,
      childReady: (...about) => {
        observer.childReady(...about);
        this.#showHealth();
      },
      childKilled: (...about) => {
        observer.childKilled(...about);
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

  /**
   * Resolves when calls are answered. Rejects with SetupError, with everything that was begun taken
   * down.
   */
  async start(): Promise<{ readonly port: number; readonly httpPort: number }> {
    const startedAt = this.#clock.now();
    try {
      await this.#startTracing();
      const repository = await this.#bindAndLoad();
      const line = await this.#startLine(repository);
      await this.#warmUpCalls(line.picture);
      this.#admission.gate = 'OPEN';
      this.#lifecycle.to('serving');
      this.#watchModels(line.catalog);
    } catch (error) {
      if (this.state === 'starting') this.#lifecycle.to('failed');
      await this.#takeDown();
      throw error;
    }
    const port = this.#rpc?.port ?? 0;
    const httpPort = this.#http?.port ?? 0;
    const { address, httpAddress, healthAddress } = this.#settings;
    const startMs = Math.round(this.#clock.now() - startedAt);
    const healthPort = this.#rpc?.healthPort ?? null;
    const health = healthPort === null ? {} : { health: `${healthAddress?.host}:${healthPort}` };
    this.#log.info(
      {
        address: `${address.host}:${port}`,
        http: `${httpAddress.host}:${httpPort}`,
        ...health,
        startMs,
      },
      'serving',
    );
    if (this.#reloadWanted) void this.reload();
    return { port, httpPort };
  }

  /**
   * Brings models, certificates and tokens in line with their files, as it is asked for by hand;
   * the log says what came of it. While starting: afterwards.
   */
  async reload(): Promise<void> {
    if (this.state === 'starting') this.#reloadWanted = true;
    if (this.state !== 'serving' || this.#line === null) return;
    await this.#rpc?.reloadCredentials();
    const { catalog } = this.#line;
    await catalog.reload({ retryFailed: true });
    const models = catalog.list().map(({ model }) => `${model.name}/${model.version}`);
    this.#log.info({ models }, 'looked at the model repository again');
  }

  /** Looks for new versions by itself, where that is asked for. */
  #watchModels(catalog: ModelCatalog): void {
    const { modelsPollIntervalMs } = this.#settings;
    if (modelsPollIntervalMs === 0) return;
    const look = () => {
      if (this.state !== 'serving') return;
      this.#clock.after(
        modelsPollIntervalMs,
        () => void catalog.reload({ retryFailed: false }).then(look),
      );
    };
    look();
  }

  /** Stops as an orderly server does. Resolves to whether every admitted call was answered. */
  async drain(): Promise<boolean> {
    const { drainDelayMs, drainTimeoutMs } = this.#settings;
    this.#lifecycle.to('draining');
    await new Promise((resolve) => setTimeout(resolve, drainDelayMs));
    const until = this.#clock.now() + drainTimeoutMs;
    await this.#rpc?.retireConnections(drainTimeoutMs);
    this.#admission.gate = 'DRAINING';
    this.#rpc?.drainStreams();
    const inTime = (await this.#rpc?.close(Math.max(0, until - this.#clock.now()))) ?? true;
    await this.#takeDown();
    this.#lifecycle.to('stopped');
    return inTime;
  }

  /**
   * Everything that needs no process, at the same time, so that all that is wrong is reported at
   * once.
   */
  async #bindAndLoad(): Promise<LoadedRepository> {
    const { httpAddress, modelRepository, defaultModel, allowRandomWeights } = this.#settings;
    const [rpc, http, loaded] = await Promise.allSettled([
      RpcServer.listen({
        ...this.#settings,
        warmUpToken: this.#warmUpToken,
        admission: this.#admission,
        clock: this.#clock,
        observer: {
          ...this.#observeCalls(),
          ...createConnectionObserver(this.#metrics, this.#log),
          ...createCredentialObserver(this.#metrics, this.#log),
          ...createRejectionObserver(this.#metrics),
        },
        answer: (request, permit) => this.#started().pipeline.answer(request, permit),
        models: () => this.#started().catalog,
        imagesPerSecond: () => this.#line?.throughput.imagesPerSecond ?? 0,
        checkDeadline: (expiresAt) =>
          this.#line?.pipeline.checkDeadline(this.#line.catalog.list(), expiresAt),
      }),
      listenHttp({
        ...httpAddress,
        registry: this.#metrics.registry,
        readiness: () => this.#readiness(),
      }),
      loadRepository(modelRepository, defaultModel, { allowRandomWeights }),
    ]);
    if (rpc.status === 'fulfilled') this.#rpc = rpc.value;
    if (http.status === 'fulfilled') this.#http = http.value;
    const failures = [rpc, http, loaded].flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    if (failures.length > 0) throw mergeSetupErrors(failures);
    return (loaded as PromiseFulfilledResult<LoadedRepository>).value;
  }

  /**
   * OpenTelemetry is loaded here and nowhere else, so that a server without it holds nothing of it.
   */
  async #startTracing(): Promise<void> {
    const { tracing: settings, version } = this.#surroundings;
    if (settings === null) return;
    const { createTracing } = await import('./telemetry/tracing.js');
    const [log, metrics, clock] = [this.#log, this.#metrics, this.#clock];
    this.#tracing = createTracing({ settings, version, log, metrics, clock });
    log.info({ endpoint: settings.endpoint, sampler: settings.sampler }, 'traces are exported');
  }

  #observeCalls(): CallObserver {
    const { logSample } = this.#settings;
    const [metrics, log, clock, tracing] = [this.#metrics, this.#log, this.#clock, this.#tracing];
    return createCallObserver({ metrics, log, clock, tracing, logSample, service: SERVICE_NAME });
  }

  async #startLine(repository: LoadedRepository): Promise<Line> {
    const metrics = this.#metrics;
    const line = await Line.start({
      ...repository,
      settings: this.#settings,
      permits: this.#permits,
      clock: this.#clock,
      childObserver: this.#childObserver,
      observer: {
        ...createPipelineObserver(metrics, this.#log),
        ...createCatalogObserver(metrics, this.#log, () => this.#showHealth()),
        ...createPermitObserver(this.#log),
      },
    });
    this.#line = line;
    const { jpegDecoder, jpegFallback } = line.decoders;
    if (jpegFallback !== null) {
      const { why, expected } = jpegFallback;
      this.#log[expected ? 'info' : 'warn'](
        { reason: why },
        'without libturbojpeg: sharp decodes JPEG and takes longer',
      );
    }
    const showSlots = () => metrics.slotBytes.set(line.slots.bytes);
    line.slots.onGrow = showSlots;
    showSlots();
    this.#log.info(
      {
        jpegDecoder,
        cores: availableCores(),
        decoderProcesses: line.decoders.lanes.length,
        permits: this.#permits.limit,
        imagesPerSecond: Math.round(line.throughput.imagesPerSecond),
      },
      'exercised',
    );
    return line;
  }

  async #warmUpCalls(image: Buffer): Promise<void> {
    const listener = await this.#rpc?.listenForWarmUp();
    if (listener === undefined) return;
    try {
      await warmUpCalls({
        port: listener.port,
        token: this.#warmUpToken,
        image,
        permits: this.#permits.limit,
        timeoutMs: this.#settings.startTimeoutMs,
        clock: this.#clock,
      });
    } finally {
      listener.destroy();
    }
  }

  #started(): Line {
    if (this.#line === null) throw new RequestError('STARTING', 'the server is still starting');
    return this.#line;
  }

  /** Whether calls without a model's name can be answered. */
  #readiness(): { readonly ready: boolean; readonly text: string } {
    const line = this.#line;
    if (line === null || this.state !== 'serving') return { ready: false, text: this.state };
    const ready = line.canAnswer(line.catalog.resolve(''));
    return { ready, text: ready ? 'ready' : 'waiting for a process to be replaced' };
  }

  #showHealth(): void {
    const { ready } = this.#readiness();
    const statuses = new Map([
      ['', ready],
      [SERVICE_NAME, ready],
    ]);
    const line = this.#line;
    for (const model of line?.catalog.list() ?? []) {
      const serving = this.state === 'serving' && (line?.canAnswer(model) ?? false);
      statuses.set(`${SERVICE_NAME}/${model.model.name}`, serving);
    }
    this.#rpc?.health.show(statuses);
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
    await Promise.all([this.#line?.stop(), this.#tracing?.close()]);
    this.#line = null;
    await this.#http?.close();
  }
}
