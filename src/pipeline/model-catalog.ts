/**
 * The models that are being served: which versions, and how a new version takes the place of an old one.
 *
 * What holds: a version is offered to callers only after it has been loaded in processes of its own and has answered drawn
 * pictures; the change is one assignment, so no request is lost or sees half of it; the old version's processes end when
 * the last image that uses them is answered. A version that can't be loaded changes nothing but the log and a counter.
 * What it costs: while a version is being changed, both versions' processes are there.
 */
import type { PixelPlan } from '../decode/decoder-main.js';
import { messageOf, RequestError, SetupError } from '../errors.js';
import { InferencePool, type InferencePoolSettings } from '../inference/inference-pool.js';
import { pixelBytesOf } from '../model/manifest.js';
import { type FoundModel, findModels, loadModel, type Model } from '../model/repository.js';
import type { ChildObserver } from '../process/supervised-child.js';
import type { SlotFile } from '../slots/slots.js';
import { ModelLine, type ModelLineObserver } from './model-line.js';
import type { ServedModel } from './served-model.js';

/** Told which models come and go; `telemetry/` implements it. */
export interface CatalogObserver {
  modelServed(line: ModelLine): void;
  modelRetired(model: ServedModel): void;
  /** A version (or, with an empty name, the repository) can't be loaded; whatever was served still is. */
  modelFailed(name: string, version: string, problems: readonly string[]): void;
}

export interface CatalogOptions {
  readonly repository: string;
  readonly slots: SlotFile;
  readonly inference: InferencePoolSettings;
  readonly childObserver: ChildObserver;
  readonly observer: CatalogObserver & ModelLineObserver;
}

/** In the place of a version: that the default model has none. */
const GONE = '';

interface Entry {
  readonly line: ModelLine;
  readonly pool: InferencePool;
}

export class ModelCatalog {
  readonly #options: CatalogOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #indices = new Set<number>();
  readonly #retiring = new Set<Promise<void>>();
  #defaultName = '';
  #reloading: Promise<void> | null = null;
  #reloadAgain = false;
  /** Versions that could not be loaded, by model: looking again in passing leaves them alone. */
  readonly #failed = new Map<string, string>();
  #stopped = false;
  /** Has a new version prove itself before it is offered; set once there is a line to prove it on. */
  prove: (line: ModelLine) => Promise<void> = async () => {};

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** Starts the first models. Rejects with SetupError. */
  async start(models: readonly Model[], defaultName: string): Promise<void> {
    this.#defaultName = defaultName;
    for (const model of models) this.#serve(model.name, await this.#load(model, models.length));
  }

  /** By name, the default model for ''. Throws RequestError MODEL_UNKNOWN. */
  resolve(name: string): ModelLine {
    const entry = this.#entries.get(name === '' ? this.#defaultName : name);
    if (entry !== undefined) return entry.line;
    throw new RequestError('MODEL_UNKNOWN', `no such model: this server has ${[...this.#entries.keys()].join(', ')}`);
  }

  /** Every model, by name. */
  list(): readonly ModelLine[] {
    const names = [...this.#entries.keys()].sort();
    return names.flatMap((name) => this.#entries.get(name)?.line ?? []);
  }

  /**
   * Brings what is served in line with the repository: new models and versions are started, those that are gone are ended.
   * Never rejects. Asked again while it is at it, it looks once more afterwards. A version that has failed before is tried
   * again only where `retryFailed` says so.
   */
  reload({ retryFailed }: { readonly retryFailed: boolean }): Promise<void> {
    if (retryFailed) this.#failed.clear();
    if (this.#reloading !== null) {
      this.#reloadAgain = true;
      return this.#reloading;
    }
    this.#reloading = this.#reloadAll().finally(() => {
      this.#reloading = null;
    });
    return this.#reloading;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#reloading;
    await Promise.all([...this.#entries.values()].map(({ pool }) => pool.stop()));
    await Promise.all(this.#retiring);
  }

  async #reloadAll(): Promise<void> {
    do {
      this.#reloadAgain = false;
      await this.#reloadOnce();
    } while (this.#reloadAgain && !this.#stopped);
  }

  async #reloadOnce(): Promise<void> {
    const { repository, observer } = this.#options;
    const scan = await findModels(repository).catch((error: unknown) => ({ found: null, problems: problemsOf(error) }));
    if (scan.problems.length > 0) observer.modelFailed('', '', scan.problems);
    if (scan.found === null) return;
    for (const found of scan.found) {
      if (this.#stopped) return;
      const served = this.#entries.get(found.name);
      if (served?.line.model.version === found.version || this.#failed.get(found.name) === found.version) continue;
      await this.#change(found, scan.found.length);
    }
    // A model whose versions can't be made out is a problem, not a wish to end it.
    if (scan.problems.length > 0) return;
    for (const [name, entry] of this.#entries) {
      if (scan.found.some((found) => found.name === name)) continue;
      if (name === this.#defaultName) {
        if (this.#failed.get(name) === GONE) continue;
        this.#failed.set(name, GONE);
        observer.modelFailed(name, entry.line.model.version, ['the default model is gone from the repository']);
      } else {
        this.#entries.delete(name);
        this.#retire(entry);
      }
    }
  }

  /** Starts one version and, once it has proved itself, puts it in the place of the one served so far. */
  async #change(found: FoundModel, models: number): Promise<void> {
    const { repository, observer } = this.#options;
    let entry: Entry | null = null;
    try {
      entry = await this.#load(await loadModel(repository, found), models);
      await this.prove(entry.line);
    } catch (error) {
      this.#failed.set(found.name, found.version);
      observer.modelFailed(found.name, found.version, problemsOf(error));
      if (entry !== null) this.#retire(entry);
      return;
    }
    const old = this.#entries.get(found.name);
    this.#serve(found.name, entry);
    if (old !== undefined) this.#retire(old);
  }

  async #load(model: Model, models: number): Promise<Entry> {
    const { slots, inference, childObserver, observer } = this.#options;
    const { manifest } = model;
    const { input, preprocessing: recipe, labels } = manifest;
    if (pixelBytesOf(manifest) > slots.layout.pixelBytes) {
      throw new SetupError('environment', [
        `model ${model.name}/${model.version}: its ${input.height} × ${input.width} pixels don't fit the slots that the models at start needed: restart the server to serve it`,
      ]);
    }
    const pool = await InferencePool.create(model, slots, inference, childObserver, {
      models,
      takeIndex: () => this.#takeIndex(),
      returnIndex: (index) => this.#indices.delete(index),
    });
    const plan: PixelPlan = { recipe, height: input.height, width: input.width };
    const served: ServedModel = {
      name: model.name,
      version: model.version,
      executionProvider: pool.executionProvider,
      fallbackReason: pool.fallbackReason,
      labels,
      inputHeight: input.height,
      inputWidth: input.width,
      embeddingSize: pool.embeddingSize,
      maxBatchSize: pool.maxBatchSize,
    };
    return { pool, line: new ModelLine({ model: served, plan: JSON.stringify(plan), lanes: pool.lanes, observer }) };
  }

  #serve(name: string, entry: Entry): void {
    this.#entries.set(name, entry);
    this.#options.observer.modelServed(entry.line);
  }

  #retire({ line, pool }: Entry): void {
    const retired = line
      .unused()
      .then(() => pool.stop())
      .then(() => {
        this.#options.observer.modelRetired(line.model);
      })
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
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
