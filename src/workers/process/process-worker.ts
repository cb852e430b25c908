/**
 * A worker that is one supervised child process. It answers batches in order.
 *
 * What holds: every batch settles exactly once, with the results of the child, or with a
 * ProcessLostError once the child has exited and writes nothing any more. The worker kills a child
 * that works on a batch for longer than the limit, in wall time or in processor time, and one whose
 * reply does not fit its batch.
 */
import { type Clock, systemClock } from '../../clock.js';
import { cpuMsOf } from '../../system/cpu-time.js';
import { ProcessLostError, type Worker, type WorkResult } from '../worker.js';
import { type CallWatch, CpuWatchdog } from './cpu-watchdog.js';
import type { Loss } from './loss.js';
import { type ChildSpec, SupervisedChild } from './supervised-child.js';
import { Watchdog } from './watchdog.js';

/** How long a child may work on one batch: wall time or processor time. */
export type CallLimit = { readonly wallMs: number } | { readonly cpuMs: number };

/** The encoding of batches and results. */
export interface WorkCodec<Input, Output> {
  encode(batch: readonly Input[]): Uint8Array;
  /** Throws where the bytes are not a reply to this batch. */
  decode(payload: Buffer, batch: readonly Input[]): readonly WorkResult<Output>[];
}

interface PendingBatch<Input, Output> {
  readonly batch: readonly Input[];
  readonly resolve: (results: readonly WorkResult<Output>[]) => void;
  readonly reject: (error: ProcessLostError) => void;
}

export class ProcessWorker<Input, Output> implements Worker<Input, Output> {
  readonly #child: SupervisedChild;
  readonly #codec: WorkCodec<Input, Output>;
  readonly #pending: PendingBatch<Input, Output>[] = [];
  readonly #role: string;
  readonly #watchdog: CallWatch;
  #ready = false;
  #hello: unknown;
  #changed: () => void = () => {};

  constructor(spec: ChildSpec, codec: WorkCodec<Input, Output>, limit: CallLimit) {
    this.#codec = codec;
    this.#role = spec.role;
    this.#watchdog = this.#watch(spec.clock ?? systemClock, limit);
    this.#child = new SupervisedChild(spec, {
      onReady: (hello) => {
        this.#hello = hello;
        this.#ready = true;
        this.#changed();
      },
      onReply: (payload) => this.#settleOldest(payload),
      onKilled: () => {
        this.#ready = false;
        this.#watchdog.stop();
        this.#changed();
      },
      onLost: (loss) => this.#loseAll(loss),
    });
  }

  get ready(): boolean {
    return this.#ready;
  }

  get inFlight(): number {
    return this.#pending.length;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What the child reported when it became ready. */
  get hello(): unknown {
    return this.#hello;
  }

  start(): Promise<void> {
    return this.#child.start();
  }

  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  /** Does not wait for batches in flight: they are rejected as lost when the child ends. */
  async stop(): Promise<void> {
    this.#ready = false;
    await this.#child.stop();
  }

  run(batch: readonly Input[]): Promise<readonly WorkResult<Output>[]> {
    if (!this.#ready)
      return Promise.reject(new ProcessLostError(`the ${this.#role} process is not ready`));
    return new Promise((resolve, reject) => {
      const payload = this.#codec.encode(batch);
      this.#pending.push({ batch, resolve, reject });
      if (this.#pending.length === 1) this.#watchdog.start();
      this.#child.call(payload);
    });
  }

  #watch(clock: Clock, limit: CallLimit): CallWatch {
    if ('wallMs' in limit) {
      const { wallMs } = limit;
      return new Watchdog(clock, wallMs, () =>
        this.#child.kill('timeout', `no answer within ${wallMs} ms`),
      );
    }
    const { cpuMs } = limit;
    const usedMs = () => (this.pid === undefined ? null : cpuMsOf(this.pid));
    return new CpuWatchdog(clock, cpuMs, usedMs, (expiry) => {
      if (expiry === 'cpu')
        this.#child.kill('cpu', `no answer within ${cpuMs} ms of processor time`);
      else if (expiry === 'untold') this.#child.kill('timeout', `no answer within ${cpuMs} ms`);
      else if (expiry === 'idle')
        this.#child.kill('timeout', `no answer, and no processor time used for ${cpuMs} ms`);
      // It got little processor time, or reads slowly: the batch is not at fault.
      else
        this.#child.kill(
          'timeout',
          'no answer, and little processor time used, for very long',
          true,
        );
    });
  }

  #settleOldest(payload: Buffer): void {
    const [oldest] = this.#pending;
    if (oldest === undefined) throw new Error('a reply to no batch');
    // A malformed reply throws here: the child is killed, and the batch is lost like the others.
    const results = this.#codec.decode(payload, oldest.batch);
    this.#pending.shift();
    if (this.#pending.length > 0) this.#watchdog.start();
    else this.#watchdog.stop();
    oldest.resolve(results);
    this.#changed();
  }

  #loseAll({ selfInflicted, cause }: Loss): void {
    this.#ready = false;
    this.#watchdog.stop();
    // The child works on batches one by one: only the oldest can have caused the loss.
    for (const [place, { reject }] of this.#pending.splice(0).entries()) {
      const suspect = selfInflicted && place === 0;
      const usedUp = suspect && cause === 'cpu';
      reject(new ProcessLostError(`the ${this.#role} process was lost`, { suspect, usedUp }));
    }
    this.#changed();
  }
}
