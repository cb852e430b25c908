/**
 * What `vitserve serve` runs: starts the parts in the order of the data flow, and stops them again.
 *
 * Starting: binds addresses and reads the models first, so that all start-up problems show at once;
 * then come the processes, the server's own first calls, and readiness. Draining: first not ready,
 * then no new calls, then the rest.
 */
import { randomBytes } from 'node:crypto';
import type { ServeSettings } from '../cli/settings.js';
import { type Clock, systemClock } from '../clock.js';
import { SERVICE_NAME } from '../contract/contract.js';
import { allOrProblems } from '../errors.js';
import { loadRepository } from '../models/repository.js';
import { availableCores } from '../system/cores.js';
import { Engine } from './engine.js';
import { Lifecycle, type LifecycleState } from './lifecycle.js';
import { RpcServer } from './rpc/server.js';
import { warmUpCalls } from './rpc/warm-up-calls.js';
import type { Gauges, Report, ServerEvent } from './telemetry/events.js';
import { type HttpServer, listenHttp } from './telemetry/http.js';
import type { Logger } from './telemetry/log.js';
import type { Telemetry } from './telemetry/telemetry.js';

/** Events after which health may have changed. */
const CHANGES_HEALTH: ReadonlySet<ServerEvent['kind']> = new Set<ServerEvent['kind']>([
  'child-ready',
  'child-killed',
  'child-lost',
  'model-served',
  'model-withdrawn',
]);

export class Service {
  readonly #settings: ServeSettings;
  readonly #log: Logger;
  readonly #telemetry: Telemetry;
  readonly #clock: Clock = systemClock;
  readonly #lifecycle = new Lifecycle();
  readonly #engine: Engine;
  readonly #warmUpToken = randomBytes(16).toString('hex');
  #rpc: RpcServer | null = null;
  #http: HttpServer | null = null;
  #reloadWanted = false;

  constructor(settings: ServeSettings, log: Logger, telemetry: Telemetry) {
    this.#settings = settings;
    this.#log = log;
    this.#telemetry = telemetry;
    this.#engine = new Engine({ settings, clock: this.#clock, report: this.#report });
    this.#lifecycle.watch((state) => this.#onState(state));
    this.#onState('starting');
  }

  get state(): LifecycleState {
    return this.#lifecycle.state;
  }

  /** Resolves when the server answers calls. Rejects with SetupError after stopping everything. */
  async start(): Promise<{ readonly port: number; readonly httpPort: number }> {
    const startedAt = this.#clock.now();
    const { modelRepository, defaultModel, allowRandomWeights } = this.#settings;
    try {
      const [rpc, http, { models, defaultName }] = await allOrProblems([
        this.#listen(),
        this.#listenHttp(),
        loadRepository(modelRepository, defaultModel, { allowRandomWeights }),
      ]);
      await this.#engine.start(models, defaultName);
      this.#logEngine();
      await this.#warmUp(rpc);
      this.#engine.admission.gate = 'OPEN';
      this.#lifecycle.to('serving');
      this.#pollModels();
      this.#logServing(rpc, http, this.#clock.now() - startedAt);
      if (this.#reloadWanted) void this.reload();
      return { port: rpc.port, httpPort: http.port };
    } catch (error) {
      if (this.state === 'starting') this.#lifecycle.to('failed');
      await this.#takeDown();
      throw error;
    }
  }

  /** Reloads models, certificates and tokens (SIGHUP). During the start: after it. */
  async reload(): Promise<void> {
    if (this.state === 'starting') this.#reloadWanted = true;
    if (this.state !== 'serving') return;
    await this.#rpc?.reloadCredentials();
    if (this.state !== 'serving') return;
    await this.#engine.reload(true);
    if (this.state !== 'serving') return;
    const models = this.#engine.list().map(({ info }) => `${info.name}/${info.version}`);
    this.#log.info({ models }, 'looked at the model repository again');
  }

  /** Stops in order. Resolves to whether every admitted call was answered. */
  async drain(): Promise<boolean> {
    const { drainDelayMs, drainTimeoutMs } = this.#settings;
    this.#lifecycle.to('draining');
    await new Promise((resolve) => setTimeout(resolve, drainDelayMs));
    const until = this.#clock.now() + drainTimeoutMs;
    await this.#rpc?.retireConnections(drainTimeoutMs);
    this.#engine.admission.gate = 'DRAINING';
    this.#rpc?.drainStreams();
    const inTime = (await this.#rpc?.close(Math.max(0, until - this.#clock.now()))) ?? true;
    await this.#takeDown();
    this.#lifecycle.to('stopped');
    return inTime;
  }

  readonly #report: Report = (event) => {
    this.#telemetry.report(event);
    if (CHANGES_HEALTH.has(event.kind)) this.#showHealth();
  };

  async #listen(): Promise<RpcServer> {
    this.#rpc = await RpcServer.listen({
      ...this.#settings,
      engine: this.#engine,
      clock: this.#clock,
      report: this.#report,
      warmUpToken: this.#warmUpToken,
    });
    return this.#rpc;
  }

  async #listenHttp(): Promise<HttpServer> {
    this.#http = await listenHttp({
      ...this.#settings.httpAddress,
      metrics: () => this.#telemetry.exposition(this.#gauges()),
      contentType: this.#telemetry.contentType,
      readiness: () => this.#readiness(),
    });
    return this.#http;
  }

  async #warmUp(rpc: RpcServer): Promise<void> {
    const listener = await rpc.listenForWarmUp();
    await warmUpCalls({
      port: listener.port,
      token: this.#warmUpToken,
      image: this.#engine.picture,
      permits: this.#engine.permits.limit,
      timeoutMs: this.#settings.startTimeoutMs,
      clock: this.#clock,
    }).finally(() => listener.destroy());
  }

  /** Polls the model repository, where `models-poll-interval` is set. */
  #pollModels(): void {
    const { modelsPollIntervalMs } = this.#settings;
    if (modelsPollIntervalMs === 0 || this.state !== 'serving') return;
    this.#clock.after(modelsPollIntervalMs, () => {
      if (this.state === 'serving') void this.#engine.reload(false).then(() => this.#pollModels());
    });
  }

  #gauges(): Gauges {
    const { connections = 0, heldRejections = 0 } = this.#rpc?.gauges ?? {};
    return { ...this.#engine.gauges, state: this.state, connections, heldRejections };
  }

  /** Whether the default model can answer. */
  #readiness(): { readonly ready: boolean; readonly text: string } {
    if (this.state !== 'serving') return { ready: false, text: this.state };
    const ready = this.#engine.readiness.get('') === true;
    return { ready, text: ready ? 'ready' : 'waiting for a process to be replaced' };
  }

  #showHealth(): void {
    const serves = this.state === 'serving';
    const { readiness } = this.#engine;
    const ready = serves && readiness.get('') === true;
    const statuses = new Map([
      ['', ready],
      [SERVICE_NAME, ready],
    ]);
    for (const [name, canAnswer] of readiness)
      if (name !== '') statuses.set(`${SERVICE_NAME}/${name}`, serves && canAnswer);
    this.#rpc?.health.show(statuses);
  }

  #onState(state: LifecycleState): void {
    this.#showHealth();
    this.#log.info({ state }, 'state');
  }

  #logEngine(): void {
    const { jpegFallback, jpegDecoder, ...summary } = this.#engine.summary;
    if (jpegFallback !== null) {
      const { why, expected } = jpegFallback;
      this.#log[expected ? 'info' : 'warn'](
        { reason: why },
        'without libturbojpeg: sharp decodes JPEG and takes longer',
      );
    }
    this.#log.info({ jpegDecoder, cores: availableCores(), ...summary }, 'throughput measured');
  }

  #logServing(rpc: RpcServer, http: HttpServer, startMs: number): void {
    const { address, httpAddress, healthAddress } = this.#settings;
    const health =
      rpc.healthPort === null ? {} : { health: `${healthAddress?.host}:${rpc.healthPort}` };
    const addresses = {
      address: `${address.host}:${rpc.port}`,
      http: `${httpAddress.host}:${http.port}`,
      ...health,
    };
    this.#log.info({ ...addresses, startMs: Math.round(startMs) }, 'serving');
  }

  async #takeDown(): Promise<void> {
    await this.#rpc?.close(0);
    await Promise.all([this.#engine.stop(), this.#telemetry.close()]);
    await this.#http?.close();
  }
}
