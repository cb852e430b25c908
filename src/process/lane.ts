/**
 * Calls on one supervised child, answered in the order in which they were sent.
 *
 * What holds: every call settles exactly once, with the child's reply or with a ProcessLostError when the child is gone
 * (its exit was seen, so nothing that it held is written any more). A call that the child works on for longer than the
 * time limit costs the child its life. The lane says when it can take calls (`ready`) and tells its owner on every change.
 */
import { type ChildSpec, SupervisedChild } from './supervised-child.js';

/** The child was lost before it answered. The call may be sent to another one. */
export class ProcessLostError extends Error {
  override readonly name = 'ProcessLostError';
}

/** How a room's calls and replies travel. */
export interface CallCodec<Call, Reply> {
  encode(call: Call): Uint8Array;
  decode(payload: Buffer): Reply;
}

interface PendingCall<Reply> {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: ProcessLostError) => void;
}

export class Lane<Call, Reply> {
  readonly #child: SupervisedChild;
  readonly #codec: CallCodec<Call, Reply>;
  readonly #pending: PendingCall<Reply>[] = [];
  readonly #role: string;
  readonly #callTimeoutMs: number;
  #timer: NodeJS.Timeout | undefined;
  #ready = false;
  #hello: unknown;
  /** Called whenever the lane becomes ready, unready, or has answered. */
  onChange: () => void = () => {};

  constructor(spec: ChildSpec, codec: CallCodec<Call, Reply>, callTimeoutMs: number) {
    this.#codec = codec;
    this.#role = spec.role;
    this.#callTimeoutMs = callTimeoutMs;
    this.#child = new SupervisedChild(spec, {
      onReady: (hello) => {
        this.#hello = hello;
        this.#ready = true;
        this.onChange();
      },
      onReply: (payload) => this.#settleOldest(payload),
      onLost: () => this.#loseAll(),
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
    if (!this.#ready) return Promise.reject(new ProcessLostError(`the ${this.#role} process is not ready`));
    return new Promise<Reply>((resolve, reject) => {
      const payload = this.#codec.encode(call);
      this.#pending.push({ resolve, reject });
      if (this.#pending.length === 1) this.#startTimer();
      this.#child.call(payload);
    });
  }

  #settleOldest(payload: Buffer): void {
    const [oldest] = this.#pending;
    if (oldest === undefined) throw new Error('a reply to no call');
    // A reply that makes no sense throws here and costs the child its life; its call is then lost like the others.
    const reply = this.#codec.decode(payload);
    this.#pending.shift();
    clearTimeout(this.#timer);
    if (this.#pending.length > 0) this.#startTimer();
    oldest.resolve(reply);
    this.onChange();
  }

  #startTimer(): void {
    this.#timer = setTimeout(
      () => this.#child.kill('timeout', `no answer within ${this.#callTimeoutMs} ms`),
      this.#callTimeoutMs,
    );
  }

  #loseAll(): void {
    this.#ready = false;
    clearTimeout(this.#timer);
    for (const { reject } of this.#pending.splice(0)) {
      reject(new ProcessLostError(`the ${this.#role} process was lost`));
    }
    this.onChange();
  }
}
