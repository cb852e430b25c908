/**
 * The served models: which versions, and how a new version replaces an old one.
 *
 * What holds: calls get a version only after it was loaded in its own processes and passed a smoke
 * test. The change is one assignment, so no request is lost or sees half of it. The processes of
 * the old version end when its last image is answered. A version that cannot be loaded changes
 * nothing but the log and a counter; it is retried once its files have changed and no longer
 * change. A served version is never loaded again: where its files change, the log says so. What it
 * costs: during a change the processes of both versions run.
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
import type { InferencePool, SharedProcesses } from '../../workers/inference/inference-pool.js';
import { CostTable } from '../scheduling/cost-table.js';
import { Stage } from '../scheduling/stage.js';
import type { Report } from '../telemetry/events.js';
import { type ModelInfo, ServedModel } from './served-model.js';
import { FileWatch, ServedFiles } from './version-files.js';

/** The processes of one version. */
export type ModelPool = Pick<
  InferencePool,
  | 'workers'
  | 'executionProvider'
  | 'fallbackReason'
  | 'slowForm'
  | 'embeddingSize'
  | 'maxBatchSize'
  | 'fixedBatchSizes'
  | 'warmUpCosts'
  | 'stop'
>;

export interface CatalogOptions extends LoadOptions {
  readonly repository: string;
  /** Pixel bytes of a slot. */
  readonly pixelBytes: number;
  /** Starts the processes of one version. Stops them all where it rejects, with SetupError. */
  readonly startPool: (model: Model, shared: SharedProcesses) => Promise<ModelPool>;
  /** Tests a new version before calls get it. Rejects where it fails or the signal is aborted. */
  readonly smokeTest: (model: ServedModel, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly report: Report;
}

/** In place of a version: the default model is gone. */
const GONE = '';
/** In place of a name: the whole repository. */
const REPOSITORY = '';

interface Entry {
  readonly model: ServedModel;
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
  /** Including those of versions that are tested or retired. */
  readonly #pools = new Set<ModelPool>();
  readonly #indices = new Set<number>();
  #defaultName = '';
  #reloading: Promise<void> | null = null;
  #reloadAgain = false;
  #retryFailed = false;
  /** What could not be loaded, by model. Polling retries it once its files have changed. */
  readonly #failed = new Map<string, Failure>();
  readonly #stopping = new AbortController();

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** Starts the first models. Rejects with a SetupError that has the problems of all of them. */
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

  /** The model with this name; '' is the default model. Throws RequestError MODEL_UNKNOWN. */
  resolve(name: string): ServedModel {
    const entry = this.#entries.get(name === '' ? this.#defaultName : name);
    if (entry !== undefined) return entry.model;
    const known = this.list().map(({ info }) => info.name);
    throw new RequestError('MODEL_UNKNOWN', `no such model: this server has ${known.join(', ')}`);
  }

  /** All models, sorted by name. */
  list(): readonly ServedModel[] {
    const names = [...this.#entries.keys()].sort();
    return names.flatMap((name) => this.#entries.get(name)?.model ?? []);
  }

  /**
   * Serves what the repository has: starts new models and versions, and stops those that are gone.
   * Never rejects. A call during a reload has the repository read once more after it. A version
   * that failed before is retried where its files have changed, or with `retryFailed`.
   */
  reload({ retryFailed }: { readonly retryFailed: boolean }): Promise<void> {
    if (retryFailed) this.#retryFailed = true;
    if (this.#reloading === null) this.#reloading = this.#reloadAll();
    else this.#reloadAgain = true;
    return this.#reloading;
  }

  /** Stops all processes without waiting for images. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the server is stopping'));
    const stopAll = () => Promise.all([...this.#pools].map((pool) => pool.stop()));
    // First, so that a smoke test does not wait for an answer.
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
      // Not in `reload`, because a version might fail between that and this.
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
      if (served?.model.info.version === found.version)
        await this.#lookAtServed(served, found.stamp, byHand);
      else if (this.#isWorthTrying(found)) await this.#change(found, scan.found.length);
      if (this.#stopped) return;
    }
    // A model whose versions cannot be read is a problem, not a reason to stop it.
    if (scan.problems.length > 0) return;
    for (const [name, entry] of this.#entries) {
      if (scan.found.some((found) => found.name === name)) continue;
      if (name === this.#defaultName) {
        this.#fail(name, GONE, entry.model.info.version, [
          'the default model is gone from the repository: put it back, or restart with another one',
        ]);
      } else {
        this.#entries.delete(name);
        this.#retire(entry);
      }
    }
  }

  /** A failed version that was removed and comes back counts as new. */
  #forgetFailures(found: readonly FoundModel[]): void {
    for (const [name, { what }] of this.#failed) {
      const now = found.find((model) => model.name === name)?.version ?? GONE;
      if (name !== REPOSITORY && now !== what) this.#failed.delete(name);
    }
  }

  /** A version that was read while it was being copied fails, and is complete a moment later. */
  #isWorthTrying({ name, version, stamp }: FoundModel): boolean {
    const failure = this.#failed.get(name);
    if (failure?.what !== version) return true;
    if (!failure.files.haveChanged(stamp)) return false;
    this.#failed.delete(name);
    return true;
  }

  /** Records a failure, and reports it once for as long as it stays the same. */
  #fail(
    name: string,
    what: string,
    version: string,
    problems: readonly string[],
    stamp = '',
  ): void {
    if (this.#failed.get(name)?.what === what) return;
    this.#failed.set(name, { what, files: new FileWatch(stamp) });
    this.#options.report({ kind: 'model-failed', name, version, problems });
  }

  /** Reports changed files of a served version, which is never loaded again. */
  async #lookAtServed({ model, files }: Entry, stamp: string, byHand: boolean): Promise<void> {
    const problem = await files.look(stamp, byHand);
    const { name, version } = model.info;
    if (problem === null || this.#stopped) return;
    this.#options.report({ kind: 'model-failed', name, version, problems: [problem] });
  }

  /** Starts one version and, after its smoke test, replaces the served one by it. */
  async #change(found: FoundModel, models: number): Promise<void> {
    let candidate: Entry | null = null;
    try {
      candidate = await this.#load(
        await loadModel(this.#options.repository, found, this.#options),
        models,
      );
      await this.#options.smokeTest(candidate.model, this.#stopping.signal);
      this.#stopping.signal.throwIfAborted();
    } catch (error) {
      if (candidate !== null) await this.#stopPool(candidate.pool);
      if (!this.#stopped)
        this.#fail(found.name, found.version, found.version, problemsOf(error), found.stamp);
      return;
    }
    this.#serve(found.name, candidate);
  }

  async #load(model: Model, models: number): Promise<Entry> {
    const { pixelBytes, startPool, clock, report } = this.#options;
    const { manifest } = model;
    const { input, preprocessing: recipe, labels } = manifest;
    if (pixelBytesOf(manifest) > pixelBytes) {
      throw new SetupError('environment', [
        `model ${model.name}/${model.version}: ` +
          `its ${input.height} × ${input.width} pixels don't fit ` +
          'the slots, which have the size of the models at start: restart the server to serve it',
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
    const { executionProvider, fallbackReason, slowForm, embeddingSize, maxBatchSize } = pool;
    const info: ModelInfo = {
      name: model.name,
      version: model.version,
      executionProvider,
      fallbackReason,
      slowForm,
      labels,
      inputHeight: input.height,
      inputWidth: input.width,
      embeddingSize,
      maxBatchSize,
    };
    const costs = new CostTable(pool.fixedBatchSizes);
    for (const { batchSize, milliseconds } of pool.warmUpCosts)
      costs.record(batchSize, milliseconds);
    const inference = new Stage({
      name: 'batch',
      workers: pool.workers,
      maxBatchSize,
      costs,
      clock,
      report,
      onExecuted: ({ batchSize, executionMs }) =>
        report({ kind: 'batch-executed', model: model.name, batchSize, executionMs }),
    });
    const served = new ServedModel(info, JSON.stringify(plan), inference);
    return { pool, model: served, files: new ServedFiles(model) };
  }

  #serve(name: string, entry: Entry): void {
    const old = this.#entries.get(name);
    this.#entries.set(name, entry);
    if (old !== undefined) this.#retire(old);
    const { info, inference } = entry.model;
    this.#options.report({ kind: 'model-served', model: info, processes: inference.workers });
  }

  /** Stops it after its last image. The caller makes sure that it gets no new image. */
  #retire({ model, pool }: Entry): void {
    const { report } = this.#options;
    report({ kind: 'model-withdrawn', model: model.info });
    void model
      .unused()
      .then(() => this.#stopPool(pool))
      .then(() => {
        if (!this.#stopped) report({ kind: 'model-retired', model: model.info });
      });
  }

  async #stopPool(pool: ModelPool): Promise<void> {
    await pool.stop();
    this.#pools.delete(pool);
  }

  /** The lowest number that no inference process has, so that the metrics have few series. */
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
