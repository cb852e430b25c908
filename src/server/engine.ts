/**
 * What answers images, behind the calls: permits, models, decoders, and the pipeline through them.
 *
 * It exists before the ports do, and rejects with STARTING until `start` has finished. `rpc/`
 * reaches permits, queues and models only through it. `start` builds the parts in the order of the
 * data flow (slots, decoders, models, pipeline) and measures how many images a second they finish.
 */
import { statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { Clock } from '../clock.js';
import { allOrProblems, RequestError } from '../errors.js';
import { pixelBytesOf } from '../models/manifest.js';
import type { Model } from '../models/repository.js';
import {
  DECODER_MAX_IN_FLIGHT,
  DecoderPool,
  type DecoderPoolSettings,
} from '../workers/decode/decoder-pool.js';
import type { DecodedImage, DecodeRequest } from '../workers/decode/messages.js';
import { InferencePool, type InferencePoolSettings } from '../workers/inference/inference-pool.js';
import type { InferenceOutput } from '../workers/inference/messages.js';
import { SlotFile, slotOffset } from '../workers/slots.js';
import { Admission } from './admission/admission.js';
import { choosePermits, FEWEST_PERMITS, PermitLimit, type Room } from './admission/permit-limit.js';
import { Permits } from './admission/permits.js';
import { Throughput } from './admission/throughput.js';
import { ModelCatalog } from './models/model-catalog.js';
import type { ServedModel } from './models/served-model.js';
import { type ImageRequest, Pipeline } from './pipeline/pipeline.js';
import { measureThroughput, smokeTest } from './pipeline/smoke-test.js';
import { Stage } from './scheduling/stage.js';
import type { Gauges, Report } from './telemetry/events.js';

export interface EngineSettings extends DecoderPoolSettings, InferencePoolSettings {
  readonly modelRepository: string;
  readonly allowRandomWeights: boolean;
  readonly permits: number | 'auto';
  readonly uploadTimeoutMs: number;
}

export interface EngineOptions {
  readonly settings: EngineSettings;
  readonly clock: Clock;
  readonly report: Report;
}

/** What `start` brings up. */
interface Parts {
  readonly slots: SlotFile;
  readonly decoders: DecoderPool;
  readonly decoding: Stage<DecodeRequest, DecodedImage>;
  readonly catalog: ModelCatalog;
  readonly pipeline: Pipeline;
}

/** Permits while throughput is measured, with `permits: auto`. */
const MEASURING_PERMITS = 128;
/**
 * The first slots belong to no permit: smoke tests of new versions use them. So a new version takes
 * no permit from a caller, and need not wait for the permits of a hanging version that it replaces.
 */
const SMOKE_TEST_SLOTS = 8;

export class Engine {
  readonly permits: Permits;
  readonly admission: Admission;
  readonly #options: EngineOptions;
  readonly #throughput: Throughput;
  readonly #permitLimit: PermitLimit;
  #parts: Parts | null = null;

  constructor(options: EngineOptions) {
    const { settings, clock, report } = options;
    const { uploadTimeoutMs, sharedMemoryDir } = settings;
    this.#options = options;
    const permits = new Permits(0, clock, {
      firstSlot: SMOKE_TEST_SLOTS,
      makeSlot: (slot) => this.#makeSlot(slot),
    });
    this.permits = permits;
    this.admission = new Admission({ permits, clock, uploadTimeoutMs });
    this.#throughput = new Throughput(
      clock,
      () => Math.min(this.#fewest(), Math.ceil(permits.limit / 2)),
      () => this.#permitLimit.correct(),
    );
    this.#permitLimit = new PermitLimit({
      permits,
      fixed: settings.permits === 'auto' ? null : settings.permits,
      wanted: () => ({ imagesPerSecond: this.imagesPerSecond, fewest: this.#fewest() }),
      room: () => roomOf(this.#started().slots, sharedMemoryDir),
      report,
    });
  }

  /**
   * Starts all processes and sets the number of permits. Stops everything again where it rejects,
   * with SetupError or with a failed smoke test.
   */
  async start(models: readonly Model[], defaultName: string): Promise<void> {
    const { settings, clock, report } = this.#options;
    const pixelBytes = Math.max(...models.map(({ manifest }) => pixelBytesOf(manifest)));
    const slots = createSlots(settings, pixelBytes);
    const catalog = new ModelCatalog({
      allowRandomWeights: settings.allowRandomWeights,
      repository: settings.modelRepository,
      pixelBytes,
      clock,
      startPool: (model, shared) => InferencePool.create(model, slots, settings, report, shared),
      smokeTest: (model, signal) => this.#smokeTest(model, signal),
      report,
    });
    const starting = DecoderPool.create(slots, settings, report);
    try {
      await allOrProblems([starting, catalog.start(models, defaultName)]);
      const decoders = await starting;
      const decoding = new Stage({
        name: 'decode',
        workers: decoders.workers,
        maxBatchSize: 1,
        maxInFlight: DECODER_MAX_IN_FLIGHT,
        clock,
        report,
      });
      const { maxImageBytes } = settings;
      const throughput = this.#throughput;
      const pipeline = new Pipeline({ slots, decoding, maxImageBytes, throughput, clock, report });
      this.#parts = { slots, decoders, decoding, catalog, pipeline };
      await this.#measure(defaultName);
      this.#permitLimit.begin();
    } catch (error) {
      this.#parts = null;
      const decoders = starting.then((pool) => pool.stop()).catch(() => {});
      await Promise.all([decoders, catalog.stop()]);
      slots.close();
      throw error;
    }
  }

  /** See `Pipeline.classify`. Throws RequestError STARTING, as `resolve` and `list` do. */
  classify(request: ImageRequest): Promise<InferenceOutput> {
    return this.#started().pipeline.classify(request);
  }

  /** The model with this name; '' is the default model. Throws RequestError MODEL_UNKNOWN. */
  resolve(name: string): ServedModel {
    return this.#started().catalog.resolve(name);
  }

  /** All models, sorted by name. */
  list(): readonly ServedModel[] {
    return this.#started().catalog.list();
  }

  /** Throws RequestError where no model could answer by then (monotonic milliseconds). */
  checkDeadline(expiresAt: number): void {
    if (this.#parts === null) return;
    const { pipeline, catalog } = this.#parts;
    pipeline.checkDeadline(catalog.list(), expiresAt);
  }

  /** Images a second that the machine answers under load; 0: not known yet. */
  get imagesPerSecond(): number {
    return this.#throughput.imagesPerSecond;
  }

  /** A drawn JPEG file of the size of a photo. */
  get picture(): Buffer {
    return this.#started().decoders.picture;
  }

  /** Whether each model can answer now, by name; '' is the default model. */
  get readiness(): ReadonlyMap<string, boolean> {
    if (this.#parts === null) return new Map();
    const { decoding, catalog } = this.#parts;
    const canAnswer = (model: ServedModel) => decoding.ready && model.inference.ready;
    const models = catalog.list().map((model) => [model.info.name, canAnswer(model)] as const);
    return new Map([['', canAnswer(catalog.resolve(''))], ...models]);
  }

  /** Reads the model repository again (`ModelCatalog.reload`). */
  async reload(retryFailed: boolean): Promise<void> {
    await this.#started().catalog.reload({ retryFailed });
  }

  get gauges(): Omit<Gauges, 'state' | 'connections' | 'heldRejections'> {
    const { permits, admission } = this;
    const parts = this.#parts;
    return {
      permitsLimit: permits.limit,
      permitsInUse: permits.inUse,
      uploads: admission.uploads,
      slotBytes: parts?.slots.bytes ?? 0,
      decodeQueue: parts?.decoding.queueLength ?? 0,
      models: (parts?.catalog.list() ?? []).map(({ info: { name, version }, inference }) => ({
        name,
        version,
        queue: inference.queueLength,
        costs: inference.costs,
      })),
    };
  }

  /** For the log, after the start. */
  get summary() {
    const { decoders } = this.#started();
    return {
      jpegDecoder: decoders.jpegDecoder,
      jpegFallback: decoders.jpegFallback,
      decoderProcesses: decoders.workers.length,
      permits: this.permits.limit,
      imagesPerSecond: Math.round(this.imagesPerSecond),
    };
  }

  /** Stops all processes without waiting for images. */
  async stop(): Promise<void> {
    const parts = this.#parts;
    if (parts === null) return;
    await Promise.all([parts.decoders.stop(), parts.catalog.stop()]);
    this.#parts = null;
    parts.slots.close();
  }

  #started(): Parts {
    if (this.#parts === null)
      throw new RequestError('STARTING', 'the server is still starting: retry');
    return this.#parts;
  }

  /** Smoke-tests every model, and measures the throughput of the default model. */
  async #measure(defaultName: string): Promise<void> {
    const { settings, clock } = this.#options;
    const { slots, pipeline, catalog } = this.#started();
    const limit = settings.permits === 'auto' ? MEASURING_PERMITS : settings.permits;
    const trial = new Permits(limit, clock, {
      firstSlot: SMOKE_TEST_SLOTS,
      makeSlot: (slot) => {
        slots.grow(slot + 1);
        return true;
      },
    });
    for (const model of catalog.list()) {
      // Half of them: streams get no more.
      const concurrency = Math.min(this.#saturating(model), Math.ceil(limit / 2));
      const options = {
        pipeline,
        model,
        takePermit: () => trial.takeForStream(new AbortController().signal),
        picture: this.picture,
        concurrency,
        clock,
      };
      if (model.info.name !== defaultName) await smokeTest(options, concurrency);
      else this.#throughput.estimate(await measureThroughput(options));
    }
  }

  /** Smoke-tests a new version while others are served. One version at a time. */
  async #smokeTest(model: ServedModel, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const permits = new Permits(SMOKE_TEST_SLOTS, clock);
    const takePermit = async () => {
      const permit = permits.tryTake();
      if (permit === null) throw new Error('more images than slots for a smoke test');
      return permit;
    };
    const { pipeline } = this.#started();
    const { picture } = this;
    const concurrency = Math.min(model.info.maxBatchSize, SMOKE_TEST_SLOTS);
    const options = { pipeline, model, takePermit, picture, concurrency, clock, signal };
    await smokeTest(options, 4 * concurrency);
  }

  /** Images that keep every process busy: as many as it has, and as many on their way to it. */
  #saturating({ info, inference }: ServedModel): number {
    const { decoders } = this.#started();
    return 2 * decoders.workers.length + 2 * info.maxBatchSize * inference.workers;
  }

  #fewest(): number {
    return this.#saturating(this.resolve(''));
  }

  #makeSlot(slot: number): boolean {
    const { slots } = this.#started();
    if (slots.tryGrow(slot + 1)) return true;
    this.#permitLimit.ranShort(slots.count - SMOKE_TEST_SLOTS);
    return false;
  }
}

/**
 * Creates the slot file: with slots for all permits where the operator sets their number. With
 * `auto` it has slots for the fewest permits, as far as there is room; others follow when needed.
 */
function createSlots({ sharedMemoryDir, permits }: EngineSettings, pixelBytes: number): SlotFile {
  const count = SMOKE_TEST_SLOTS + (permits === 'auto' ? 1 : permits);
  const slots = SlotFile.create(sharedMemoryDir, { pixelBytes }, count);
  if (permits !== 'auto') return slots;
  const fewest = { imagesPerSecond: 0, fewest: FEWEST_PERMITS };
  slots.grow(SMOKE_TEST_SLOTS + choosePermits(fewest, roomOf(slots, sharedMemoryDir)).permits);
  return slots;
}

function roomOf(slots: SlotFile, directory: string): Room {
  const { bavail, bsize } = statfsSync(directory);
  return {
    slotBytes: slotOffset(slots.layout, 1),
    slots: slots.count - SMOKE_TEST_SLOTS,
    freeSharedBytes: bavail * bsize,
    memoryBytes: Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem()),
  };
}
