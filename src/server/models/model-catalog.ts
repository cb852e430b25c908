/**
 * The models that are being served: which versions, and how a new version takes the place of an old
 * one.
 *
 * What holds: a version is offered to callers only after it has been loaded in processes of its own
 * and has answered drawn pictures; the change is one assignment, so no request is lost or sees half
 * of it; the old version's processes end when the last image that uses them is answered. A version
 * that can't be loaded changes nothing but the log and a counter, and is tried again when its files
 * have changed and stand still. A version that is served is never loaded anew: where its files
 * change, the log says so. What it costs: while a version is being changed, both versions'
 * processes are there.
 */

import type { Clock } from '../../clock.js';
import { mergeSetupErrors, messageOf, RequestError, SetupError } from '../../errors.js';
import { pixelBytesOf } from '../../models/manifest.js';
import {
  type FoundModel,
  findModels,
  type LoadOptions,
  loadModel,
  type Model,
} from '../../models/repository.js';
import type { PixelPlan } from '../../workers/decode/prepare-pixels.js';
import type { SharedProcesses } from '../../workers/inference/inference-pool.js';
import type { BatchCost } from '../scheduling/cost-table.js';
import { type InferenceBatchLane, ModelLine, type ModelLineObserver } from './model-line.js';
import type { ServedModel } from './served-model.js';
import { FileWatch, ServedFiles } from './version-files.js';

/** Told which models come and go; `telemetry/` implements it. */
export interface CatalogObserver {
  /** Callers get it from now on. */
  modelServed(line: ModelLine): void;
  /** Callers don't get it any more; it answers what it has begun. */
  modelWithdrawn(model: ServedModel): void;
  /** After `modelWithdrawn`: its last image is answered and its processes have ended. */
  modelRetired(model: ServedModel): void;
  /**
   * A version (or, with an empty name, the repository) can't be loaded; whatever was served still
   * is.
   */
  modelFailed(name: string, version: string, problems: readonly string[]): void;
}

/** The processes of one version; `workers/inference/inference-pool.ts` is shaped like it. */
export interface ModelPool {
  readonly lanes: readonly InferenceBatchLane[];
  readonly executionProvider: string;
  readonly fallbackReason: string | null;
  readonly slowForm: ServedModel['slowForm'];
  readonly embeddingSize: number;
  readonly maxBatchSize: number;
  readonly fixedBatchSizes: readonly number[] | null;
  readonly warmUpCosts: readonly BatchCost[];
  /** Waits for nothing. Idempotent. */
  stop(): Promise<void>;
}

export interface CatalogOptions extends LoadOptions {
  readonly repository: string;
  /** What a slot has room for. */
  readonly pixelBytes: number;
  /** Starts the processes of one version. Rejects with SetupError, with nothing left of them. */
  readonly startPool: (model: Model, shared: SharedProcesses) => Promise<ModelPool>;
  readonly clock: Clock;
  readonly observer: CatalogObserver & ModelLineObserver;
}

/** In the place of a version: that the default model has none. */
const GONE = '';
/** In the place of a model: the repository as a whole. */
const REPOSITORY = '';

interface Entry {
  readonly line: ModelLine;
  readonly pool: ModelPool;
  readonly files: ServedFiles;
}

interface Failure {
  /** The version, or the problems of the repository. */
  readonly what: string;
  readonly files: FileWatch;
}

export class ModelCatalog {
  readonly #options: CatalogOptions;
  readonly #entries = new Map<string, Entry>();
  /** Also those of versions that are being proved or retired. */
  readonly #pools = new Set<ModelPool>();
  readonly #indices = new Set<number>();
  #defaultName = '';
  #reloading: Promise<void> | null = null;
  #reloadAgain = false;
  #retryFailed = false;
  /**
   * What could not be loaded, by model. Looking again in passing leaves it alone until its files
   * have changed.
   */
  readonly #failed = new Map<string, Failure>();
  readonly #stopping = new AbortController();
  /**
   * Has a new version prove itself before it is offered; set once there is a line to prove it on.
   * Rejects when the signal says so.
   */
  prove: (line: ModelLine, signal: AbortSignal) => Promise<void> = async () => {};

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** Starts the first models. Rejects with SetupError, with the problems of all of them. */
  async start(models: readonly Model[], defaultName: string): Promise<void> {
    this.#defaultName = defaultName;
    const failures: unknown[] = [];
    for (const model of models) {
      await this.#load(model, models.length).then(
        (entry) => this.#serve(model.name, entry),
        (error: unknown) => failures.push(error),
      );
    }
    if (failures.length > 0) throw mergeSetupErrors(failures);
  }

  /** By name, the default model for ''. Throws RequestError MODEL_UNKNOWN. */
  resolve(name: string): ModelLine {
    const entry = this.#entries.get(name === '' ? this.#defaultName : name);
    if (entry !== undefined) return entry.line;
    const known = this.list().map(({ model }) => model.name);
    throw new RequestError('MODEL_UNKNOWN', `no such model: this server has ${known.join(', ')}`);
  }

  /** Every model, by name. */
  list(): readonly ModelLine[] {
    const names = [...this.#entries.keys()].sort();
    return names.flatMap((name) => this.#entries.get(name)?.line ?? []);
  }

  /**
   * Brings what is served in line with the repository: new models and versions are started, those
   * that are gone are ended. Never rejects. Asked again while it is at it, it looks once more
   * afterwards. A version that has failed before is tried again where its files have changed since,
   * or `retryFailed` says so.
   */
  reload({ retryFailed }: { readonly retryFailed: boolean }): Promise<void> {
    if (retryFailed) this.#retryFailed = true;
    if (this.#reloading === null) this.#reloading = this.#reloadAll();
    else this.#reloadAgain = true;
    return this.#reloading;
  }

  /** Waits for no image: whoever is still in the line is lost with the processes. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the server is stopping'));
    const stopAll = () => Promise.all([...this.#pools].map((pool) => pool.stop()));
    // First, so that a version that is being proved waits for no answer of its processes.
    await stopAll();
    await this.#reloading;
    await stopAll();
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #reloadAll(): Promise<void> {
    do {
      this.#reloadAgain = false;
      // Here and not where it is asked for, or a version that is failing just then would be noted
      // after it.
      const byHand = this.#retryFailed;
      this.#retryFailed = false;
      if (byHand) this.#failed.clear();
      await this.#reloadOnce(byHand);
    } while (this.#reloadAgain && !this.#stopped);
    this.#reloading = null;
  }

  async #reloadOnce(byHand: boolean): Promise<void> {
    const { repository } = this.#options;
    const scan = await findModels(repository).catch((error: unknown) => ({
      found: null,
      problems: problemsOf(error),
    }));
    if (this.#stopped) return;
    if (scan.problems.length > 0)
      this.#fail(REPOSITORY, scan.problems.join('\n'), '', scan.problems);
    else this.#failed.delete(REPOSITORY);
    if (scan.found === null) return;
    this.#forgetFailures(scan.found);
    for (const found of scan.found) {
      const served = this.#entries.get(found.name);
      if (served?.line.model.version === found.version)
        await this.#lookAtServed(served, found.stamp, byHand);
      else if (this.#isWorthTrying(found)) await this.#change(found, scan.found.length);
      if (this.#stopped) return;
    }
    // A model whose versions can't be made out is a problem, not a wish to end it.
    if (scan.problems.length > 0) return;
    for (const [name, entry] of this.#entries) {
      if (scan.found.some((found) => found.name === name)) continue;
      if (name === this.#defaultName) {
        this.#fail(name, GONE, entry.line.model.version, [
          'the default model is gone from the repository',
        ]);
      } else {
        this.#entries.delete(name);
        this.#retire(entry);
      }
    }
  }

  /** A version that has failed, went away, and comes back is a new one. */
  #forgetFailures(found: readonly FoundModel[]): void {
    for (const [name, { what }] of this.#failed) {
      const now = found.find((model) => model.name === name)?.version ?? GONE;
      if (name !== REPOSITORY && now !== what) this.#failed.delete(name);
    }
  }

  /** One that was looked at while it was being copied fails, and is whole a moment later. */
  #isWorthTrying({ name, version, stamp }: FoundModel): boolean {
    const failure = this.#failed.get(name);
    if (failure?.what !== version) return true;
    if (!failure.files.haveChanged(stamp)) return false;
    this.#failed.delete(name);
    return true;
  }

  /** Notes a failure and tells of it, once for as long as it stays the same. */
  #fail(
    name: string,
    what: string,
    version: string,
    problems: readonly string[],
    stamp = '',
  ): void {
    if (this.#failed.get(name)?.what === what) return;
    this.#failed.set(name, { what, files: new FileWatch(stamp) });
    this.#options.observer.modelFailed(name, version, problems);
  }

  /** A version that is served is never loaded again: where its files have changed, that is told. */
  async #lookAtServed({ line, files }: Entry, stamp: string, byHand: boolean): Promise<void> {
    const problem = await files.look(stamp, byHand);
    const { name, version } = line.model;
    if (problem !== null && !this.#stopped)
      this.#options.observer.modelFailed(name, version, [problem]);
  }

  /**
   * Starts one version and, once it has proved itself, puts it in the place of the one served so
   * far.
   */
  async #change(found: FoundModel, models: number): Promise<void> {
    let candidate: Entry | null = null;
    try {
      candidate = await this.#load(
        await loadModel(this.#options.repository, found, this.#options),
        models,
      );
      await this.prove(candidate.line, this.#stopping.signal);
      this.#stopping.signal.throwIfAborted();
    } catch (error) {
      if (candidate !== null) await this.#stopPool(candidate.pool);
      if (!this.#stopped)
        this.#fail(found.name, found.version, found.version, problemsOf(error), found.stamp);
      return;
    }
    const old = this.#entries.get(found.name);
    this.#entries.set(found.name, candidate);
    if (old !== undefined) this.#retire(old);
    this.#options.observer.modelServed(candidate.line);
  }

  async #load(model: Model, models: number): Promise<Entry> {
    const { pixelBytes, startPool, clock, observer } = this.#options;
    const { manifest } = model;
    const { input, preprocessing: recipe, labels } = manifest;
    if (pixelBytesOf(manifest) > pixelBytes) {
      throw new SetupError('environment', [
        `model ${model.name}/${model.version}: its ${input.height} × ${input.width} pixels don't fit the slots that the models at start needed: restart the server to serve it`,
      ]);
    }
    const pool = await startPool(model, {
      models,
      signal: this.#stopping.signal,
      takeIndex: () => this.#takeIndex(),
      returnIndex: (index) => this.#indices.delete(index),
    });
    this.#pools.add(pool);
    const plan: PixelPlan = { recipe, height: input.height, width: input.width };
    const served: ServedModel = {
      name: model.name,
      version: model.version,
      executionProvider: pool.executionProvider,
      fallbackReason: pool.fallbackReason,
      slowForm: pool.slowForm,
      labels,
      inputHeight: input.height,
      inputWidth: input.width,
      embeddingSize: pool.embeddingSize,
      maxBatchSize: pool.maxBatchSize,
    };
    const { lanes, fixedBatchSizes, warmUpCosts } = pool;
    const line = new ModelLine({
      model: served,
      plan: JSON.stringify(plan),
      lanes,
      fixedBatchSizes,
      warmUpCosts,
      clock,
      observer,
    });
    return { pool, line, files: new ServedFiles(model) };
  }

  #serve(name: string, entry: Entry): void {
    this.#entries.set(name, entry);
    this.#options.observer.modelServed(entry.line);
  }

  /** Ends it when its last image is answered. Nobody may come to it any more. */
  #retire({ line, pool }: Entry): void {
    const { observer } = this.#options;
    observer.modelWithdrawn(line.model);
    void line
      .unused()
      .then(() => this.#stopPool(pool))
      .then(() => {
        if (!this.#stopped) observer.modelRetired(line.model);
      });
  }

  async #stopPool(pool: ModelPool): Promise<void> {
    await pool.stop();
    this.#pools.delete(pool);
  }

  /** The lowest number that no living inference process has, so that series of metrics stay few. */
  #takeIndex(): number {
    let index = 0;
    while (this.#indices.has(index)) index++;
    this.#indices.add(index);
    return index;
  }
}

function problemsOf(error: unknown): readonly string[] {
  return error instanceof SetupError ? error.problems : [messageOf(error)];
}
