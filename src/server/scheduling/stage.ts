/**
 * One stage on the path of an image: a queue, the workers behind it, the images that it has
 * quarantined, and what it tells telemetry. Decoding has one, and each served model has one.
 *
 * What holds: every input is settled exactly once. A stage rejects an image that ends its processes
 * until the quarantine forgets it (`quarantine.ts`); other stages decide for themselves.
 */
import type { Clock } from '../../clock.js';
import { RequestError } from '../../errors.js';
import { ProcessLostError, type Worker, type WorkResult } from '../../workers/worker.js';
import type { DropCause, Report, StageName } from '../telemetry/events.js';
import { CostTable } from './cost-table.js';
import { Dispatcher, type Terms } from './dispatcher.js';
import { Quarantine } from './quarantine.js';

export interface StageOptions<Input, Output> {
  readonly name: StageName;
  readonly workers: readonly Worker<Input, Output>[];
  readonly maxBatchSize: number;
  /** See `DispatcherOptions`. */
  readonly maxInFlight?: number;
  /** What is known of the cost of batches. */
  readonly costs?: CostTable;
  readonly clock: Clock;
  readonly report: Report;
  /** Called for each executed batch, with one of its outputs. */
  readonly onExecuted?: (output: Output) => void;
}

/** What a stage has to know of an input's image. */
export interface StageRequest extends Omit<Terms, 'suspect'> {
  /** The encoded file, which identifies the image in the quarantine. */
  readonly image: Uint8Array;
}

export class Stage<Input, Output> {
  readonly #name: StageName;
  readonly #workers: readonly Worker<Input, Output>[];
  readonly #costs: CostTable;
  readonly #dispatcher: Dispatcher<Input, Output>;
  readonly #quarantine: Quarantine;
  readonly #report: Report;

  constructor(options: StageOptions<Input, Output>) {
    const { name, workers, costs = new CostTable(), clock, report, onExecuted } = options;
    this.#name = name;
    this.#workers = workers;
    this.#costs = costs;
    this.#report = report;
    this.#quarantine = new Quarantine(clock, (sha256, bytes) =>
      report({ kind: 'image-quarantined', stage: name, sha256, bytes }),
    );
    this.#dispatcher = new Dispatcher({
      ...options,
      costs,
      report: (event) => {
        if (event.kind === 'executed') onExecuted?.(event.output);
        else report({ kind: 'image-retried', stage: name });
      },
    });
  }

  /** Whether a worker takes batches now. */
  get ready(): boolean {
    return this.#workers.some(({ ready }) => ready);
  }

  /** The number of workers, ready or not. */
  get workers(): number {
    return this.#workers.length;
  }

  /** Waiting images. */
  get queueLength(): number {
    return this.#dispatcher.queueLength;
  }

  /** Images that wait or that a worker has. */
  get images(): number {
    return this.#dispatcher.images;
  }

  /** The cost of batches, by ascending size: from when a worker is free until its answer. */
  get costs(): CostTable['rows'] {
    return this.#costs.rows;
  }

  /** See `Dispatcher.countBefore`. */
  countBefore(schedulingDeadline: number): number {
    return this.#dispatcher.countBefore(schedulingDeadline);
  }

  /** See `Dispatcher.estimateMs`. */
  estimateMs(
    schedulingDeadline: number,
    coming?: { readonly inMs: number; readonly ahead: number },
  ): number | null {
    return this.#dispatcher.estimateMs(schedulingDeadline, coming);
  }

  /** Throws RequestError IMAGE_QUARANTINED. */
  check(image: Uint8Array): void {
    this.#quarantine.check(image);
  }

  /**
   * Resolves to the output for one input. Rejects with a RequestError: why the image was dropped
   * (DEADLINE_UNREACHABLE, DEADLINE_EXCEEDED, or the reason of the signal), what is wrong with the
   * image, IMAGE_QUARANTINED, or PROCESS_LOST. Any other error is a fault of the server.
   */
  async run(input: Input, request: StageRequest): Promise<Output> {
    const { image, signal, schedulingDeadline, expiresAt } = request;
    let result: WorkResult<Output>;
    try {
      result = await this.#dispatcher.add(input, {
        signal,
        schedulingDeadline,
        expiresAt,
        suspect: ({ usedUp }) => this.#quarantine.suspect(image, usedUp),
      });
    } catch (error) {
      throw this.#failure(error, signal);
    }
    switch (result.kind) {
      case 'done':
        this.#quarantine.clear(image);
        return result.output;
      case 'skipped':
        throw this.#skipped(signal);
      case 'rejected':
        if (result.reason === 'INTERNAL') throw new Error(`${this.#name}: ${result.message}`);
        throw new RequestError(result.reason, result.message);
    }
  }

  /** Reports that an image was dropped because of this error. */
  drop(error: unknown): void {
    this.#report({ kind: 'image-dropped', stage: this.#name, cause: causeOf(error) });
  }

  #failure(error: unknown, signal: AbortSignal): unknown {
    if (error instanceof ProcessLostError) {
      const text = 'the processes that worked on the image were lost: retry';
      return new RequestError('PROCESS_LOST', text, { cause: error });
    }
    const reason = error instanceof RequestError ? error.reason : null;
    const isLate = reason === 'DEADLINE_UNREACHABLE' || reason === 'DEADLINE_EXCEEDED';
    if (isLate || (signal.aborted && error === signal.reason)) this.drop(error);
    return error;
  }

  #skipped(signal: AbortSignal): unknown {
    const error: unknown = signal.aborted
      ? signal.reason
      : new RequestError('DEADLINE_EXCEEDED', 'the deadline passed before work on the image began');
    this.drop(error);
    return error;
  }
}

function causeOf(error: unknown): DropCause {
  const reason = error instanceof RequestError ? error.reason : null;
  if (reason === 'DEADLINE_UNREACHABLE') return 'unreachable';
  return reason === 'DEADLINE_EXCEEDED' ? 'expired' : 'cancelled';
}
