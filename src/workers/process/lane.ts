/**
 * Calls on one supervised child, answered in the order in which they were sent.
 *
 * What holds: every call settles exactly once, with the child's reply or with a ProcessLostError
 * when the child is gone (its exit was seen, so nothing that it held is written any more). A call
 * that the child works on for longer than the limit, in time or in processor time, costs the child
 * its life, and so does a reply that does not fit its call. The lane says when it can take calls
 * (`ready`) and tells its owner on every change.
 */
import { type Clock, systemClock } from '../../clock.js';
import { cpuMsOf } from '../../system/cpu-time.js';
import { type CallWatch, CpuWatchdog } from './cpu-watchdog.js';
import type { Loss } from './loss.js';
import { type ChildSpec, SupervisedChild } from './supervised-child.js';
import { Watchdog } from './watchdog.js';

/** The child was lost before it answered. The call may be sent to another one. */
export class ProcessLostError extends Error {
  override readonly name = 'ProcessLostError';
  /**
   * Whether this very call may have ended it: the child was working on it, and ended by its own
   * doing (`loss.ts`).
   */
  readonly suspect: boolean;
  /** Whether it is certain: the child has spent the processor time on this call that it may. */
  readonly usedUp: boolean;

  constructor(
    message: string,
    { suspect = false, usedUp = false }: Partial<Pick<ProcessLostError, 'suspect' | 'usedUp'>> = {},
  ) {
    super(message);
    this.suspect = suspect;
    this.usedUp = usedUp;
  }
}

/** How long a child may work on one call: time on the wall, or processor time. */
export type CallLimit = { readonly wallMs: number } | { readonly cpuMs: number };

/** How a room's calls and replies travel. */
export interface CallCodec<Call, Reply> {
  encode(call: Call): Uint8Array;
  /** Throws where the bytes are no reply to this call. */
  decode(payload: Buffer, call: Call): Reply;
}

interface PendingCall<Call, Reply> {
  readonly call: Call;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: ProcessLostError) => void;
}

export class Lane<Call, Reply> {
  readonly #child: SupervisedChild;
  readonly #codec: CallCodec<Call, Reply>;
  readonly #pending: PendingCall<Call, Reply>[] = [];
  readonly #role: string;
  readonly #watchdog: CallWatch;
  #ready = false;
  #hello: unknown;
  /** Called whenever the lane becomes ready, unready, or has answered. */
  onChange: () => void = () => {};

  constructor(spec: ChildSpec, codec: CallCodec<Call, Reply>, limit: CallLimit) {
    this.#codec = codec;
    this.#role = spec.role;
    this.#watchdog = this.#watch(spec.clock ?? systemClock, limit);
    this.#child = new SupervisedChild(spec, {
      onReady: (hello) => {
        this.#hello = hello;
        this.#ready = true;
        this.onChange();
      },
      onReply: (payload) => this.#settleOldest(payload),
      onKilled: () => {
        this.#ready = false;
        this.#watchdog.stop();
        this.onChange();
      },
      onLost: (loss) => this.#loseAll(loss),
    });
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Calls sent and not answered yet. */
  get inFlight(): number {
    return this.#pending.length;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What the child said of itself when it became ready. */
  get hello(): unknown {
    return this.#hello;
  }

  start(): Promise<void> {
    return this.#child.start();
  }

  /** Waits for nothing: calls in flight are rejected as lost when the child ends. */
  async stop(): Promise<void> {
    this.#ready = false;
    await this.#child.stop();
  }

  call(call: Call): Promise<Reply> {
    if (!this.#ready)
      return Promise.reject(new ProcessLostError(`the ${this.#role} process is not ready`));
    return new Promise<Reply>((resolve, reject) => {
      const payload = this.#codec.encode(call);
      this.#pending.push({ call, resolve, reject });
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
      // Others have left it hardly any, or what it reads comes slowly: that is not the call's
      // doing.
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
    if (oldest === undefined) throw new Error('a reply to no call');
    // A reply that makes no sense throws here and costs the child its life; its call is then lost
    // like the others.
    const reply = this.#codec.decode(payload, oldest.call);
    this.#pending.shift();
    if (this.#pending.length > 0) this.#watchdog.start();
    else this.#watchdog.stop();
    oldest.resolve(reply);
    this.onChange();
  }

  #loseAll({ selfInflicted, cause }: Loss): void {
    this.#ready = false;
    this.#watchdog.stop();
    // Calls are worked on one by one: only the oldest can have done it.
    for (const [place, { reject }] of this.#pending.splice(0).entries()) {
      const suspect = selfInflicted && place === 0;
      const usedUp = suspect && cause === 'cpu';
      reject(new ProcessLostError(`the ${this.#role} process was lost`, { suspect, usedUp }));
    }
    this.onChange();
  }
}
