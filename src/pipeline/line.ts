/**
 * Builds the line from its parts in the order in which the data flows (slots, decoders, models, the pipeline over them),
 * exercises it, and takes it down again.
 */
import { statfsSync } from 'node:fs';
import type { Clock } from '../clock.js';
import { DecoderPool, type DecoderPoolSettings } from '../decode/decoder-pool.js';
import { mergeSetupErrors } from '../errors.js';
import { InferencePool, type InferencePoolSettings } from '../inference/inference-pool.js';
import { pixelBytesOf } from '../model/manifest.js';
import type { Model } from '../model/repository.js';
import type { ChildObserver } from '../process/supervised-child.js';
import { SLOT_HEADER_BYTES, SlotFile } from '../slots/slots.js';
import { exercise, prove } from './exercise.js';
import { type CatalogObserver, ModelCatalog } from './model-catalog.js';
import type { ModelLine, ModelLineObserver } from './model-line.js';
import { type Permit, Permits } from './permits.js';
import { Pipeline, type PipelineObserver } from './pipeline.js';

export interface LineSettings extends DecoderPoolSettings, InferencePoolSettings {
  /** The model repository. */
  readonly models: string;
  readonly allowRandomWeights: boolean;
  readonly permits: number | 'auto';
  readonly maxImageBytes: number;
  readonly overtakingLimitMs: number;
  readonly maxQueueDelayMs: number;
}

export interface LineOptions {
  readonly settings: LineSettings;
  readonly models: readonly Model[];
  readonly defaultName: string;
  readonly permits: Permits;
  readonly clock: Clock;
  readonly childObserver: ChildObserver;
  readonly observer: PipelineObserver & ModelLineObserver & CatalogObserver;
}

/** Slots while the line is exercised; there will be more or fewer permits once it is known what the machine can do. */
const EXERCISE_SLOTS = 128;
const MOST_PERMITS = 65_536;
/**
 * Slots beyond those of the permits, for new versions to prove themselves on. With permits of its own a version never takes
 * one from a caller, and one that is to replace a version that hangs doesn't wait for the permits that this one holds.
 */
const PROVING_SLOTS = 8;
/** How much of the free shared memory the slots may take when their number is the server's to choose. */
const SLOT_SHARE_OF_FREE_MEMORY = 0.5;
/** The size of an ordinary photo, as drawn for the exercise. */
const DRAWN_WIDTH = 500;
const DRAWN_HEIGHT = 375;

export class Line {
  readonly pipeline: Pipeline;
  readonly catalog: ModelCatalog;
  readonly decoders: DecoderPool;
  readonly slots: SlotFile;
  /** The picture that the line was exercised with, a JPEG file. */
  readonly picture: Buffer;
  /** Of the default model, as exercised. */
  readonly imagesPerSecond: number;

  private constructor(
    parts: Pick<Line, 'pipeline' | 'catalog' | 'decoders' | 'slots' | 'picture' | 'imagesPerSecond'>,
  ) {
    this.pipeline = parts.pipeline;
    this.catalog = parts.catalog;
    this.decoders = parts.decoders;
    this.slots = parts.slots;
    this.picture = parts.picture;
    this.imagesPerSecond = parts.imagesPerSecond;
  }

  /** Rejects with SetupError, with everything that was begun taken down. Gives the permits. */
  static async start(options: LineOptions): Promise<Line> {
    const { settings, models, defaultName, clock, childObserver, observer } = options;
    const layout = { pixelBytes: Math.max(...models.map(({ manifest }) => pixelBytesOf(manifest))) };
    const slotCount = settings.permits === 'auto' ? EXERCISE_SLOTS : settings.permits;
    const slots = SlotFile.create(settings.sharedMemoryDir, layout, slotCount + PROVING_SLOTS);
    const catalog = new ModelCatalog({
      allowRandomWeights: settings.allowRandomWeights,
      repository: settings.models,
      pixelBytes: layout.pixelBytes,
      maxQueueDelayMs: settings.maxQueueDelayMs,
      clock,
      startPool: (model, shared) => InferencePool.create(model, slots, settings, childObserver, shared),
      observer,
    });
    const [decoding, serving] = await Promise.allSettled([
      DecoderPool.create(slots, settings, childObserver),
      catalog.start(models, defaultName),
    ]);
    const takeDown = async () => {
      await Promise.all([decoding.status === 'fulfilled' ? decoding.value.stop() : null, catalog.stop()]);
      slots.close();
    };
    try {
      if (decoding.status === 'rejected' || serving.status === 'rejected') {
        throw mergeSetupErrors(
          [decoding, serving].flatMap((part) => (part.status === 'rejected' ? [part.reason] : [])),
        );
      }
      const decoders = decoding.value;
      const { maxImageBytes, overtakingLimitMs } = settings;
      const { lanes } = decoders;
      const pipeline = new Pipeline({ slots, decoders: lanes, maxImageBytes, overtakingLimitMs, clock, observer });
      const picture = await decoders.draw(...drawnSize(settings));
      const trial = new Permits(slotCount, clock);
      const exercises = catalog.list().map((line) => ({
        pipeline,
        line,
        takePermit: () => trial.takeForStream(new AbortController().signal),
        picture,
        // Half of them: streams are given no more.
        concurrency: Math.min(busy(line, decoders), Math.ceil(slotCount / 2)),
        clock,
      }));
      let imagesPerSecond = 0;
      for (const each of exercises) {
        if (each.line.model.name === defaultName) imagesPerSecond = await exercise(each);
        else await prove(each, each.concurrency);
      }
      givePermits(options, slots, imagesPerSecond, busy(catalog.resolve(''), decoders));
      const line = new Line({ pipeline, catalog, decoders, slots, picture, imagesPerSecond });
      catalog.prove = (candidate, signal) => line.#prove(candidate, options, signal);
      return line;
    } catch (error) {
      await takeDown();
      throw error;
    }
  }

  /** Whether images of the model can be answered now. */
  canAnswer(model: ModelLine): boolean {
    return model.ready && this.decoders.lanes.some((lane) => lane.ready);
  }

  async stop(): Promise<void> {
    await Promise.all([this.decoders.stop(), this.catalog.stop()]);
    this.slots.close();
  }

  /** A new version answers drawn pictures, beside what is being served, before it is offered. One at a time. */
  async #prove(line: ModelLine, { permits, clock }: LineOptions, signal: AbortSignal): Promise<void> {
    const { pipeline, picture } = this;
    const proving = new Permits(PROVING_SLOTS, clock);
    const takePermit = async (): Promise<Permit> => {
      const permit = proving.tryTake();
      if (permit === null) throw new Error('more images than slots to prove a version with');
      return { slot: permits.limit + permit.slot, release: () => permit.release() };
    };
    const concurrency = Math.min(line.model.maxBatchSize, PROVING_SLOTS);
    await prove({ pipeline, line, takePermit, picture, concurrency, clock, signal }, 4 * concurrency);
  }
}

/** Images that keep every process at work: as many as it has in hand, and as many again on the way to it. */
function busy({ model, processes }: ModelLine, decoders: DecoderPool): number {
  return 2 * decoders.lanes.length + 2 * model.maxBatchSize * processes;
}

/** Gives the permits, with slots for them and for proving. */
function givePermits(
  { settings, permits }: LineOptions,
  slots: SlotFile,
  imagesPerSecond: number,
  fewest: number,
): void {
  const { bavail, bsize } = statfsSync(settings.sharedMemoryDir);
  const slotBytes = slots.layout.pixelBytes + SLOT_HEADER_BYTES;
  const count =
    settings.permits === 'auto'
      ? choosePermits({ imagesPerSecond, fewest, slots: slots.count, freeBytes: bavail * bsize, slotBytes })
      : settings.permits;
  slots.grow(count + PROVING_SLOTS);
  permits.raise(count);
}

/**
 * How many permits are given where the number is the server's to choose: as many as images are finished in a second, at
 * least what keeps every process at work, as far as there is shared memory for their slots.
 */
export function choosePermits(found: {
  readonly imagesPerSecond: number;
  /** Images that keep every process at work. */
  readonly fewest: number;
  /** Slots that there are. */
  readonly slots: number;
  /** Shared memory that is free beside them. */
  readonly freeBytes: number;
  readonly slotBytes: number;
}): number {
  const { imagesPerSecond, fewest, slots, freeBytes, slotBytes } = found;
  const room = Math.floor((freeBytes * SLOT_SHARE_OF_FREE_MEMORY) / slotBytes);
  const wanted = Math.min(Math.max(Math.round(imagesPerSecond), fewest), MOST_PERMITS);
  return Math.min(wanted, slots + room - PROVING_SLOTS);
}

/** Width and height of an ordinary photo, or what the limits let in of it: a drawn JPEG has less than half a byte a pixel and 1,000 more. */
function drawnSize({ maxImageBytes, maxImagePixels }: LineSettings): [number, number] {
  const pixels = Math.min(DRAWN_WIDTH * DRAWN_HEIGHT, maxImagePixels, 2 * Math.max(maxImageBytes - 1000, 0));
  const width = Math.max(1, Math.floor(Math.sqrt((pixels * DRAWN_WIDTH) / DRAWN_HEIGHT)));
  return [width, Math.max(1, Math.floor(pixels / width))];
}
