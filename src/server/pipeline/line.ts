/**
 * Builds the line from its parts in the order in which the data flows (slots, decoders, models, the
 * pipeline over them), exercises it, and takes it down again.
 */
import { statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { Clock } from '../../clock.js';
import { mergeSetupErrors } from '../../errors.js';
import { pixelBytesOf } from '../../models/manifest.js';
import type { Model } from '../../models/repository.js';
import { DecoderPool, type DecoderPoolSettings } from '../../workers/decode/decoder-pool.js';
import {
  InferencePool,
  type InferencePoolSettings,
} from '../../workers/inference/inference-pool.js';
import type { ChildObserver } from '../../workers/process/supervised-child.js';
import { SlotFile, type SlotLayout, slotOffset } from '../../workers/slots.js';
import {
  choosePermits,
  FEWEST_PERMITS,
  PermitLimit,
  type PermitObserver,
  type Room,
} from '../admission/permit-limit.js';
import { type Permit, Permits } from '../admission/permits.js';
import { Throughput } from '../admission/throughput.js';
import { type CatalogObserver, ModelCatalog } from '../models/model-catalog.js';
import type { ModelLine, ModelLineObserver } from '../models/model-line.js';
import { exercise, prove } from './exercise.js';
import { Pipeline, type PipelineObserver } from './pipeline.js';

export interface LineSettings extends DecoderPoolSettings, InferencePoolSettings {
  /** The model repository. */
  readonly modelRepository: string;
  readonly allowRandomWeights: boolean;
  readonly permits: number | 'auto';
  readonly maxImageBytes: number;
}

export interface LineOptions {
  readonly settings: LineSettings;
  readonly models: readonly Model[];
  readonly defaultName: string;
  /** Their slots begin at PROVING_SLOTS. */
  readonly permits: Permits;
  readonly clock: Clock;
  readonly childObserver: ChildObserver;
  readonly observer: PipelineObserver & ModelLineObserver & CatalogObserver & PermitObserver;
}

/**
 * Permits while the line is exercised; there will be more or fewer once it is known what the
 * machine can do.
 */
const EXERCISE_PERMITS = 128;
/**
 * The first slots belong to no permit: new versions prove themselves on them. With permits of its
 * own a version never takes one from a caller, and one that is to replace a version that hangs
 * doesn't wait for the permits that this one holds.
 */
export const PROVING_SLOTS = 8;
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
  readonly throughput: Throughput;

  private constructor(
    parts: Pick<Line, 'pipeline' | 'catalog' | 'decoders' | 'slots' | 'picture' | 'throughput'>,
  ) {
    this.pipeline = parts.pipeline;
    this.catalog = parts.catalog;
    this.decoders = parts.decoders;
    this.slots = parts.slots;
    this.picture = parts.picture;
    this.throughput = parts.throughput;
  }

  /** Rejects with SetupError, with everything that was begun taken down. Gives the permits. */
  static async start(options: LineOptions): Promise<Line> {
    const { settings, models, defaultName, permits, clock, childObserver, observer } = options;
    const layout = {
      pixelBytes: Math.max(...models.map(({ manifest }) => pixelBytesOf(manifest))),
    };
    const slots = createSlots(settings, layout);
    const catalog = new ModelCatalog({
      allowRandomWeights: settings.allowRandomWeights,
      repository: settings.modelRepository,
      pixelBytes: layout.pixelBytes,
      clock,
      startPool: (model, shared) =>
        InferencePool.create(model, slots, settings, childObserver, shared),
      observer,
    });
    const [decoding, serving] = await Promise.allSettled([
      DecoderPool.create(slots, settings, childObserver),
      catalog.start(models, defaultName),
    ]);
    const takeDown = async () => {
      await Promise.all([
        decoding.status === 'fulfilled' ? decoding.value.stop() : null,
        catalog.stop(),
      ]);
      slots.close();
    };
    try {
      if (decoding.status === 'rejected' || serving.status === 'rejected') {
        throw mergeSetupErrors(
          [decoding, serving].flatMap((part) => (part.status === 'rejected' ? [part.reason] : [])),
        );
      }
      const decoders = decoding.value;
      const { maxImageBytes } = settings;
      const { lanes } = decoders;
      const fewest = () => busy(catalog.resolve(''), decoders);
      const throughput = new Throughput(clock, () =>
        Math.min(fewest(), Math.ceil(permits.limit / 2)),
      );
      const pipeline = new Pipeline({
        slots,
        decoders: lanes,
        maxImageBytes,
        throughput,
        clock,
        observer,
      });
      const picture = await decoders.draw(...drawnSize(settings));
      const trial = new Permits(
        settings.permits === 'auto' ? EXERCISE_PERMITS : settings.permits,
        clock,
        PROVING_SLOTS,
      );
      trial.makeSlot = (slot) => {
        slots.grow(slot + 1);
        return true;
      };
      const exercises = catalog.list().map((line) => ({
        pipeline,
        line,
        takePermit: () => trial.takeForStream(new AbortController().signal),
        picture,
        // Half of them: streams are given no more.
        concurrency: Math.min(busy(line, decoders), Math.ceil(trial.limit / 2)),
        clock,
      }));
      for (const each of exercises) {
        if (each.line.model.name === defaultName) throughput.estimate(await exercise(each));
        else await prove(each, each.concurrency);
      }
      givePermits(options, { slots, throughput, fewest });
      const line = new Line({ pipeline, catalog, decoders, slots, picture, throughput });
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

  /**
   * A new version answers drawn pictures, beside what is being served, before it is offered. One at
   * a time.
   */
  async #prove(line: ModelLine, { clock }: LineOptions, signal: AbortSignal): Promise<void> {
    const { pipeline, picture } = this;
    const proving = new Permits(PROVING_SLOTS, clock);
    const takePermit = async (): Promise<Permit> => {
      const permit = proving.tryTake();
      if (permit === null) throw new Error('more images than slots to prove a version with');
      return permit;
    };
    const concurrency = Math.min(line.model.maxBatchSize, PROVING_SLOTS);
    await prove(
      { pipeline, line, takePermit, picture, concurrency, clock, signal },
      4 * concurrency,
    );
  }
}

/**
 * Images that keep every process at work: as many as it has in hand, and as many again on the way
 * to it.
 */
function busy({ model, processes }: ModelLine, decoders: DecoderPool): number {
  return 2 * decoders.lanes.length + 2 * model.maxBatchSize * processes;
}

/**
 * The file, with slots for all permits where their number is given. Where it is the server's to
 * choose, with those of the fewest that it would give, as far as there is room for them; the others
 * are made when they are needed.
 */
function createSlots({ sharedMemoryDir, permits }: LineSettings, layout: SlotLayout): SlotFile {
  const slots = SlotFile.create(
    sharedMemoryDir,
    layout,
    PROVING_SLOTS + (permits === 'auto' ? 1 : permits),
  );
  if (permits !== 'auto') return slots;
  const first = choosePermits(
    { imagesPerSecond: 0, fewest: FEWEST_PERMITS },
    roomOf(slots, sharedMemoryDir),
  );
  slots.grow(PROVING_SLOTS + first.permits);
  return slots;
}

/**
 * Gives the permits, and sees to it that there are slots for them, and as many as are good where
 * that is the server's to choose.
 */
function givePermits(
  { settings, permits, observer }: LineOptions,
  line: {
    readonly slots: SlotFile;
    readonly throughput: Throughput;
    readonly fewest: () => number;
  },
): void {
  const { slots, throughput, fewest } = line;
  if (settings.permits !== 'auto') {
    permits.setLimit(settings.permits);
    return;
  }
  const limit = new PermitLimit({
    permits,
    wanted: () => ({ imagesPerSecond: throughput.imagesPerSecond, fewest: fewest() }),
    room: () => roomOf(slots, settings.sharedMemoryDir),
    observer,
  });
  permits.makeSlot = (slot) => {
    if (slots.tryGrow(slot + 1)) return true;
    limit.ranShort(slots.count - PROVING_SLOTS);
    return false;
  };
  throughput.onSample = () => limit.correct();
  limit.begin();
}

function roomOf(slots: SlotFile, directory: string): Room {
  const { bavail, bsize } = statfsSync(directory);
  return {
    slotBytes: slotOffset(slots.layout, 1),
    slots: slots.count - PROVING_SLOTS,
    freeSharedBytes: bavail * bsize,
    memoryBytes: Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem()),
  };
}

/**
 * Width and height of an ordinary photo, or what the limits let in of it: a drawn JPEG has less
 * than half a byte a pixel and 1,000 more.
 */
function drawnSize({ maxImageBytes, maxImagePixels }: LineSettings): [number, number] {
  const pixels = Math.min(
    DRAWN_WIDTH * DRAWN_HEIGHT,
    maxImagePixels,
    2 * Math.max(maxImageBytes - 1000, 0),
  );
  const width = Math.max(1, Math.floor(Math.sqrt((pixels * DRAWN_WIDTH) / DRAWN_HEIGHT)));
  return [width, Math.max(1, Math.floor(pixels / width))];
}
