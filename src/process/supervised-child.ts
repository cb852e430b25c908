/**
 * One child process that is meant to live: spawned, awaited, restarted when it dies, ended on request.
 *
 * What holds: at most one operating-system process at a time; after `onLost` nothing more arrives from the lost one;
 * restarts back off (100 ms, doubling to 10 s, ± 20 % so that siblings don't march in step) and the wait falls back to
 * the start once a process has served for five seconds. What it costs: one socket pair and two pipes a child.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { messageOf, SetupError } from '../errors.js';
import type { ChildInit } from './child-main.js';
import { encodeFrame, encodeJsonFrame, type Frame, FrameParser, FrameTag } from './frames.js';

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 10_000;
/** A process that was ready for this long is taken to be healthy: its loss starts a new count. */
const STEADY_MS = 5_000;
/** How long a child may take to end by itself when its channel is closed. */
const STOP_GRACE_MS = 1_000;

export type ChildRole = 'decoder' | 'inference';

/** Told about the life of children; `telemetry/` implements it. */
export interface ChildObserver {
  childReady(role: ChildRole, index: number, pid: number, startMs: number): void;
  /** `cause` is bounded: `exit`, `signal`, `timeout`, `protocol`, `start`. */
  childLost(role: ChildRole, index: number, pid: number, cause: LossCause, detail: string): void;
  /** The child was asked to end and is gone for good, if it was there at all. Told once. */
  childStopped(role: ChildRole, index: number): void;
  /** A line that the child wrote to its standard output or error. */
  childLine(role: ChildRole, index: number, line: string): void;
}

export type LossCause = 'exit' | 'signal' | 'timeout' | 'protocol' | 'start';

export interface ChildSpec {
  readonly role: ChildRole;
  readonly index: number;
  /** The module to run, `file:` URL. */
  readonly entry: URL;
  /** What the child is told at every start; asked anew each time, so that a restart knows what the first start found out. */
  readonly settings: () => unknown;
  readonly niceness: number;
  /** Descriptors that the child inherits from 4 on. */
  readonly sharedFds: readonly number[];
  /** Undefined: the front's own environment. */
  readonly environment: Record<string, string> | undefined;
  /** How long from spawn to ready. */
  readonly startTimeoutMs: number;
  readonly observer: ChildObserver;
}

export interface ChildEvents {
  /** It takes calls from now on. `hello` is what its program said of itself. */
  onReady(hello: unknown): void;
  onReply(payload: Buffer): void;
  /** The process is gone (its exit was seen) and answers nothing any more. */
  onLost(cause: LossCause): void;
}

export class SupervisedChild {
  readonly #spec: ChildSpec;
  readonly #events: ChildEvents;
  #process: ChildProcess | null = null;
  #channel: Socket | null = null;
  #readySince = 0;
  #losses = 0;
  #stopping = false;
  #stopped = false;
  #killCause: { cause: LossCause; detail: string } | null = null;
  #restartTimer: NodeJS.Timeout | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(spec: ChildSpec, events: ChildEvents) {
    this.#spec = spec;
    this.#events = events;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The first start. Rejects with a SetupError when it does not come up; later losses are mended by themselves. */
  async start(): Promise<void> {
    await this.#spawn();
  }

  /** Sends one call. Only between `onReady` and `onLost`. */
  call(payload: Uint8Array): void {
    this.#channel?.write(encodeFrame(FrameTag.Call, payload));
  }

  /** Ends the process at once; `onLost` follows when its exit is seen, then a restart. */
  kill(cause: LossCause, detail: string): void {
    this.#killCause ??= { cause, detail };
    this.#process?.kill('SIGKILL');
  }

  /** Closes the channel, waits for the exit, kills after a grace. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    this.#channel?.end();
    const grace = setTimeout(() => this.#process?.kill('SIGKILL'), STOP_GRACE_MS);
    await this.#exited;
    clearTimeout(grace);
    if (this.#stopped) return;
    this.#stopped = true;
    this.#spec.observer.childStopped(this.#spec.role, this.#spec.index);
  }

  #spawn(): Promise<void> {
    const { role, index, entry, sharedFds, environment, observer } = this.#spec;
    const startedAt = performance.now();
    this.#killCause = null;
    this.#readySince = 0;
    const child = spawn(process.execPath, [fileURLToPath(entry)], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', ...sharedFds],
      ...(environment === undefined ? {} : { env: environment }),
    });
    this.#process = child;
    const channel = child.stdio[3] as Socket;
    this.#channel = channel;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => observer.childLine(role, index, line));
    }

    return new Promise<void>((resolve, reject) => {
      let failure: SetupError | undefined;
      const startTimer = setTimeout(
        () => this.kill('start', `not ready within ${this.#spec.startTimeoutMs} ms`),
        this.#spec.startTimeoutMs,
      );
      const onFrame = (frame: Frame) => {
        if (frame.tag === FrameTag.Reply) this.#events.onReply(frame.payload);
        else if (frame.tag === FrameTag.Ready) {
          clearTimeout(startTimer);
          this.#readySince = performance.now();
          this.#events.onReady(JSON.parse(frame.payload.toString()));
          observer.childReady(role, index, child.pid ?? 0, this.#readySince - startedAt);
          resolve();
        } else if (frame.tag === FrameTag.Failed) {
          const { kind, problems } = JSON.parse(frame.payload.toString()) as Pick<SetupError, 'kind' | 'problems'>;
          failure = new SetupError(kind, problems);
        } else throw new Error(`unexpected frame tag ${String(frame.tag)}`);
      };
      const parser = new FrameParser();
      channel.on('data', (chunk: Buffer) => {
        try {
          for (const frame of parser.push(chunk)) onFrame(frame);
        } catch (error) {
          this.kill('protocol', messageOf(error));
          // What else it has sent would be taken for the answers to other calls.
          channel.destroy();
        }
      });
      // A write to a process that has just died; its exit tells the story.
      channel.on('error', () => {});

      const init: ChildInit<unknown> = {
        parentPid: process.pid,
        niceness: this.#spec.niceness,
        settings: this.#spec.settings(),
      };
      channel.write(encodeJsonFrame(FrameTag.Init, init));

      this.#exited = new Promise((exited) => {
        const onGone = (code: number | null, signal: NodeJS.Signals | null, error?: Error) => {
          clearTimeout(startTimer);
          channel.destroy();
          this.#channel = null;
          this.#process = null;
          exited();
          const exit = error?.message ?? (signal === null ? `exit code ${code}` : `signal ${signal}`);
          const lost = this.#killCause ?? {
            cause: signal === null ? ('exit' as const) : ('signal' as const),
            detail: exit,
          };
          const wasReady = this.#readySince > 0;
          this.#events.onLost(lost.cause);
          if (!this.#stopping) {
            const detail = failure ? failure.problems.join('; ') : lost.detail;
            observer.childLost(role, index, child.pid ?? 0, failure ? 'start' : lost.cause, detail);
          }
          if (wasReady) this.#restartLater();
          else reject(failure ?? new SetupError('environment', [`the ${role} process did not start: ${lost.detail}`]));
        };
        child.once('exit', (code, signal) => onGone(code, signal));
        child.once('error', (error) => {
          if (child.pid === undefined) onGone(null, null, error);
        });
      });
    });
  }

  #restartLater(): void {
    if (this.#stopping) return;
    if (performance.now() - this.#readySince > STEADY_MS && this.#readySince > 0) this.#losses = 0;
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** this.#losses, LONGEST_BACKOFF_MS) * (0.8 + 0.4 * Math.random());
    this.#losses++;
    this.#restartTimer = setTimeout(() => {
      // A restart that fails was reported to the observer as a loss; it is tried again.
      this.#spawn().catch(() => this.#restartLater());
    }, backoff);
  }
}
