/**
 * A catalog over a real folder with fake processes: the test writes versions and decides how they
 * start.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadRepository, type Model } from '#vitserve/models/repository.js';
import { ModelCatalog, type ModelPool } from '#vitserve/server/models/model-catalog.js';
import type { ServedModel } from '#vitserve/server/models/served-model.js';
import type { SharedProcesses } from '#vitserve/workers/inference/inference-pool.js';
import type { InferenceOutput, InferenceRequest } from '#vitserve/workers/inference/messages.js';
import { FakeClock } from '../../../support/fake-clock.js';
import { FakeWorker } from '../../../support/fake-worker.js';
import { manifestWith } from '../../models/sample-manifest.js';

const GRAPH = 'not really a graph';

export class FakePool implements ModelPool {
  readonly worker = new FakeWorker<InferenceRequest, InferenceOutput>();
  readonly workers = [this.worker];
  readonly executionProvider = 'cpu';
  readonly fallbackReason = null;
  readonly slowForm = null;
  readonly embeddingSize = 2;
  readonly maxBatchSize = 4;
  readonly fixedBatchSizes = null;
  readonly warmUpCosts = [];
  readonly index: number;
  stops = 0;
  readonly #shared: SharedProcesses;

  constructor(shared: SharedProcesses) {
    this.#shared = shared;
    this.index = shared.takeIndex();
  }

  async stop(): Promise<void> {
    if (this.stops++ > 0) return;
    if (this.worker.ready) this.worker.lose();
    this.#shared.returnIndex(this.index);
  }
}

export class CatalogStand {
  readonly folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  /** What the observer was told. */
  readonly events: string[] = [];
  /** By `name/version`, the newest. */
  readonly pools = new Map<string, FakePool>();
  readonly shares = new Map<string, number>();
  /** What happens before a pool is there; a test may let it fail or wait. */
  beforeStart: (model: Model, shared: SharedProcesses) => Promise<void> = async () => {};
  /** What a new version has to do; nothing unless a test says otherwise. */
  smokeTest: (model: ServedModel, signal: AbortSignal) => Promise<void> = async () => {};
  readonly catalog = new ModelCatalog({
    allowRandomWeights: false,
    repository: this.folder,
    pixelBytes: 32 * 32 * 3,
    clock: new FakeClock(),
    startPool: async (model, shared) => {
      await this.beforeStart(model, shared);
      const pool = new FakePool(shared);
      this.pools.set(`${model.name}/${model.version}`, pool);
      this.shares.set(`${model.name}/${model.version}`, shared.models);
      return pool;
    },
    smokeTest: (model, signal) => this.smokeTest(model, signal),
    report: (event) => {
      switch (event.kind) {
        case 'model-served':
        case 'model-withdrawn':
        case 'model-retired': {
          const { name, version } = event.model;
          this.events.push(`${event.kind.slice('model-'.length)} ${name}/${version}`);
          return;
        }
        case 'model-failed': {
          const { name, version, problems } = event;
          this.events.push(`failed ${name}/${version}: ${problems.join('; ')}`);
        }
      }
    },
  });

  write(name: string, version: string, changes: Readonly<Record<string, unknown>> = {}): void {
    const folder = join(this.folder, name, version);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'model.onnx'), GRAPH);
    const sha256 = createHash('sha256').update(GRAPH).digest('hex');
    writeFileSync(
      join(folder, 'model.json'),
      JSON.stringify(manifestWith({ 'graph.sha256': sha256, ...changes })),
    );
  }

  /** Another graph in the place of one that is there. */
  writeGraph(name: string, version: string, graph: string): void {
    this.writeFile(name, version, 'model.onnx', graph);
  }

  writeFile(name: string, version: string, file: string, text: string): void {
    writeFileSync(join(this.folder, name, version, file), text);
  }

  /** The same content with another time. */
  touch(...path: readonly string[]): void {
    utimesSync(join(this.folder, ...path), 0, 0);
  }

  remove(...path: readonly string[]): void {
    rmSync(join(this.folder, ...path), { recursive: true });
  }

  /** Serves what has been written; forgets what the observer was told. */
  async start(defaultName: string): Promise<void> {
    const { models } = await loadRepository(this.folder, defaultName);
    await this.catalog.start(models, defaultName);
    this.events.length = 0;
  }

  pool(version: string): FakePool {
    const pool = this.pools.get(version);
    if (pool === undefined) throw new Error(`${version} was never started`);
    return pool;
  }

  /** What is served, by name. */
  get served(): string[] {
    return this.catalog.list().map(({ info }) => `${info.name}/${info.version}`);
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
