/**
 * One supervised child process: it is started, restarted when it dies, and stopped on request.
 *
 * What holds: at most one operating-system process at a time. After `onKilled` or `onLost` nothing
 * more arrives from the lost one. Restarts back off (`backoff.ts`) and never give up, even where
 * the system cannot start a process for a while. A child that sends an unexpected frame is killed.
 * What it costs: one socket pair and two pipes for each child.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Clock, systemClock } from '../../clock.js';
import { messageOf, SetupError } from '../../errors.js';
import { describeSystemError } from '../../system/system-errors.js';
import { Backoff } from './backoff.js';
import type { ChildInit } from './child-main.js';
import { LineReader } from './child-output.js';
import { encodeFrame, encodeJsonFrame, type Frame, FrameParser, FrameTag } from './frames.js';
import { type ChildRole, type Loss, type LossCause, lossByExit, lossByKill } from './loss.js';
import { Watchdog } from './watchdog.js';

export type { ChildRole, LossCause } from './loss.js';

/** How long a child may take to end by itself once its channel is closed. */
const STOP_GRACE_MS = 1_000;

/** The events in the life of a child. */
export type ChildEvent = { readonly role: ChildRole; readonly index: number } & (
  | { readonly kind: 'child-ready'; readonly pid: number; readonly startMs: number }
  /**
   * The front has killed it, and it takes no more calls. `child-lost` follows at its exit, which a
   * stuck driver can delay.
   */
  | { readonly kind: 'child-killed' }
  | {
      readonly kind: 'child-lost';
      readonly pid: number;
      readonly cause: LossCause;
      readonly detail: string;
    }
  /** It was stopped for good, if it ran at all. Reported once. */
  | { readonly kind: 'child-stopped' }
  /** A line of its standard output or error (`child-output.ts`). */
  | { readonly kind: 'child-line'; readonly line: string }
);

export type ReportChild = (event: ChildEvent) => void;

export interface ChildSpec {
  readonly role: ChildRole;
  readonly index: number;
  /** The module to run, `file:` URL. */
  readonly entry: URL;
  /** Flags of Node; default: none. */
  readonly nodeFlags?: readonly string[];
  /** The settings of the child. Called at every start, because a restart may need others. */
  readonly settings: () => unknown;
  readonly niceness: number;
  /** Descriptors that the child inherits from 4 on. */
  readonly sharedFds: readonly number[];
  /** Undefined: the environment of the front. */
  readonly environment: Record<string, string> | undefined;
  /** How long from spawn to ready. */
  readonly startTimeoutMs: number;
  /** The largest frame that it may send; default: MAX_FRAME_BYTES. */
  readonly maxFrameBytes?: number;
  readonly report: ReportChild;
  /** For tests: the time, and the spread of restarts. */
  readonly clock?: Clock;
  readonly random?: () => number;
}

export interface ChildEvents {
  /** From now on it takes calls. `hello` is what its program reported. */
  onReady(hello: unknown): void;
  onReply(payload: Buffer): void;
  /** It takes no more calls; `onLost` follows. */
  onKilled(): void;
  /** The process has exited and answers nothing any more. */
  onLost(loss: Loss): void;
}

export class SupervisedChild {
  readonly #spec: ChildSpec;
  readonly #events: ChildEvents;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  #process: ChildProcess | null = null;
  #channel: Socket | null = null;
  /** Null until the current process is ready. */
  #readyAt: number | null = null;
  #stopping = false;
  #stopped = false;
  #killed: Loss | null = null;
  #cancelRestart: () => void = () => {};
  #exited: Promise<void> = Promise.resolve();

  constructor(spec: ChildSpec, events: ChildEvents) {
    this.#spec = spec;
    this.#events = events;
    this.#clock = spec.clock ?? systemClock;
    this.#backoff = new Backoff(spec.random);
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The first start. Rejects with a SetupError where it fails; after later losses it restarts. */
  async start(): Promise<void> {
    await this.#spawn();
  }

  /** Sends one call. Only between `onReady` and `onLost`. */
  call(payload: Uint8Array): void {
    this.#channel?.write(encodeFrame(FrameTag.Call, payload));
  }

  /** Kills the process; `onLost` follows at its exit, then a restart. */
  kill(cause: LossCause, detail: string, blameless = false): void {
    const { role, index, report } = this.#spec;
    if (this.#process === null || this.#killed !== null) return;
    this.#killed = lossByKill(cause, detail, this.#process.pid, blameless);
    this.#process.kill('SIGKILL');
    // Whatever else arrives would be taken for the answers to other calls.
    this.#channel?.destroy();
    this.#events.onKilled();
    report({ kind: 'child-killed', role, index });
  }

  /** Closes the channel, waits for the exit, kills after STOP_GRACE_MS. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelRestart();
    this.#channel?.end();
    const grace = setTimeout(() => this.#process?.kill('SIGKILL'), STOP_GRACE_MS);
    await this.#exited;
    clearTimeout(grace);
    if (this.#stopped) return;
    this.#stopped = true;
    const { role, index, report } = this.#spec;
    report({ kind: 'child-stopped', role, index });
  }

  /** Starts a process. Resolves when it is ready; rejects with SetupError where it ends before. */
  #spawn(): Promise<void> {
    const { role, index, report, startTimeoutMs } = this.#spec;
    const startedAt = this.#clock.now();
    this.#killed = null;
    this.#readyAt = null;
    return new Promise<void>((resolve, reject) => {
      let failure: SetupError | undefined;
      const startTimer = new Watchdog(this.#clock, startTimeoutMs, () =>
        this.kill('start', `not ready within ${startTimeoutMs} ms`),
      );
      const onReady = (hello: unknown) => {
        startTimer.stop();
        this.#readyAt = this.#clock.now();
        this.#events.onReady(hello);
        const startMs = this.#readyAt - startedAt;
        report({ kind: 'child-ready', role, index, pid: this.pid ?? 0, startMs });
        resolve();
      };
      const onFrame = ({ tag, payload }: Frame) => {
        const isDue =
          this.#readyAt === null
            ? tag === FrameTag.Ready || tag === FrameTag.Failed
            : tag === FrameTag.Reply;
        if (!isDue) throw new Error(`unexpected frame tag ${String(tag)}`);
        if (tag === FrameTag.Reply) this.#events.onReply(payload);
        else if (tag === FrameTag.Ready) onReady(JSON.parse(payload.toString()));
        else failure = readFailure(payload);
      };
      const onGone = (pid: number, byExit: Loss) => {
        startTimer.stop();
        this.#channel?.destroy();
        this.#channel = null;
        this.#process = null;
        const loss = this.#killed ?? byExit;
        const detail = failure?.problems.join('; ') ?? loss.detail;
        const servedMs = this.#readyAt === null ? null : this.#clock.now() - this.#readyAt;
        this.#events.onLost(loss);
        const cause = failure ? 'start' : loss.cause;
        if (!this.#stopping) report({ kind: 'child-lost', role, index, pid, cause, detail });
        if (servedMs !== null) this.#restartLater(servedMs);
        else
          reject(
            failure ??
              new SetupError('environment', [`the ${role} process did not start: ${detail}`]),
          );
      };
      startTimer.start();
      let child: ChildProcess;
      try {
        child = this.#launch(onFrame);
      } catch (error) {
        // The machine has no memory or no descriptors for it, which may pass.
        onGone(0, { cause: 'start', detail: describeSystemError(error), selfInflicted: false });
        return;
      }
      this.#exited = new Promise((exited) => {
        child.once('exit', (code, signal) => {
          exited();
          onGone(child.pid ?? 0, lossByExit(role, code, signal));
        });
        child.on('error', (error) => {
          if (child.pid !== undefined) return;
          exited();
          onGone(0, { cause: 'start', detail: describeSystemError(error), selfInflicted: false });
        });
      });
    });
  }

  /** Starts the process and sends it its settings. Throws where the system cannot start one. */
  #launch(onFrame: (frame: Frame) => void): ChildProcess {
    const {
      role,
      index,
      entry,
      nodeFlags = [],
      sharedFds,
      environment,
      report,
      maxFrameBytes,
    } = this.#spec;
    const child = spawn(process.execPath, [...nodeFlags, fileURLToPath(entry)], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', ...sharedFds],
      ...(environment === undefined ? {} : { env: environment }),
    });
    this.#process = child;
    // Absent where no descriptor was left; an error event follows.
    const channel = child.stdio?.[3] as Socket | undefined;
    if (channel === undefined || child.pid === undefined) return child;
    this.#channel = channel;
    for (const stream of [child.stdout, child.stderr]) {
      const lines = new LineReader(this.#clock, (line) =>
        report({ kind: 'child-line', role, index, line }),
      );
      stream?.on('data', (chunk: Buffer) => lines.push(chunk)).once('end', () => lines.end());
    }
    const parser = new FrameParser(maxFrameBytes);
    channel.on('data', (chunk: Buffer) => {
      try {
        for (const frame of parser.push(chunk)) onFrame(frame);
      } catch (error) {
        this.kill('protocol', messageOf(error));
      }
    });
    // A write to a process that has just died; its exit is handled.
    channel.on('error', () => {});
    const { niceness, settings } = this.#spec;
    const init: ChildInit<unknown> = { parentPid: process.pid, niceness, settings: settings() };
    channel.write(encodeJsonFrame(FrameTag.Init, init));
    return child;
  }

  #restartLater(servedMs: number): void {
    if (this.#stopping) return;
    this.#cancelRestart = this.#clock.after(this.#backoff.nextMs(servedMs), () => {
      // A failed restart is reported as a loss, and retried.
      this.#spawn().catch(() => this.#restartLater(0));
    });
  }
}

function readFailure(payload: Buffer): SetupError {
  const { kind, problems } = JSON.parse(payload.toString()) as Pick<
    SetupError,
    'kind' | 'problems'
  >;
  return new SetupError(kind, problems);
}
