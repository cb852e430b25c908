/**
 * Ends a connection in order: it has reached its age, was idle, has nearly used up its resets, or
 * the server stops. grpc-js can do the first two, but loses calls: it sends both GOAWAY frames at
 * once, so a call that is on its way is rejected, and lost where it is larger than the retry buffer
 * of its client.
 *
 * This file takes three steps:
 *
 * 1. Wait for a moment when nothing is on its way to the client: the client has answered a PING,
 *    and no call ended meanwhile. Clients on Node.js lose the calls that they begin after an answer
 *    which they read together with GOAWAY; nothing that a server sends afterwards helps.
 * 2. Ask for no further calls (`workarounds/shutdown-notice.ts`), and wait for the answer to a
 *    PING, for ROUND_TRIP_MS at most. Calls that the client began before it knew arrive before that
 *    answer, and are taken.
 * 3. Send GOAWAY with the last call that was taken. The connection closes when its calls have
 *    ended.
 *
 * Each step has a limit: QUIET_MS for the first, less where it is urgent. Calls that are open when
 * the grace is over lose their connection, which clients see as UNAVAILABLE; a reset with NO_ERROR,
 * as grpc-js sends it, would be INTERNAL.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock } from '../../clock.js';
import { sendShutdownNotice } from '../workarounds/shutdown-notice.js';
import { ResetBudget, type ResetLimits } from './reset-budget.js';

/**
 * The longest wait for a quiet moment. A connection that never has one carries small calls, which
 * clients retry.
 */
const QUIET_MS = 1_000;
/** The same where the connection has few resets left. */
const HURRIED_QUIET_MS = 50;
/** The longest wait for the answer of the client. */
const ROUND_TRIP_MS = 1_000;
/** Between two tries. */
const PAUSE_MS = 5;
/** Of the age, either way. */
const JITTER_SHARE = 0.1;

/**
 * The server asks a connection without an open call to close after this time, so that idle clients
 * do not fill up `max-connections`. Client libraries connect again with the next call.
 */
export const MAX_CONNECTION_IDLE_MS = 600_000;

export interface SessionLifeOptions {
  readonly clock: Clock;
  readonly maxConnectionIdleMs: number;
  /** 0: unlimited. Calls that are open then may take as long again. */
  readonly maxConnectionAgeMs: number;
  readonly resetLimits: ResetLimits;
}

export class SessionLife {
  readonly #session: ServerHttp2Session;
  readonly #connection: Socket;
  readonly #options: SessionLifeOptions;
  readonly #resets: ResetBudget;
  /** Resolves with the last GOAWAY, or the end of the session. */
  readonly #retired: Promise<void>;
  #onRetired = () => {};
  #cancelIdle = () => {};
  #cancelAge = () => {};
  #cancelStep = () => {};
  #isRetiring = false;
  #openCalls = 0;
  #idleSince: number;
  /** Grows with every end of a call, and when the session gets its last bytes. */
  #endings = 0;

  constructor(session: ServerHttp2Session, connection: Socket, options: SessionLifeOptions) {
    const { clock, maxConnectionIdleMs, maxConnectionAgeMs, resetLimits } = options;
    this.#session = session;
    this.#connection = connection;
    this.#options = options;
    this.#resets = new ResetBudget(resetLimits, clock);
    this.#idleSince = clock.now();
    this.#retired = new Promise((resolve) => {
      this.#onRetired = resolve;
    });
    this.#watchIdleness(maxConnectionIdleMs);
    if (maxConnectionAgeMs > 0) {
      const jitter = 1 + JITTER_SHARE * (2 * Math.random() - 1);
      this.#cancelAge = clock.after(maxConnectionAgeMs * jitter, () => this.#reachAge());
    }
    session.on('stream', (stream) => this.#onCall(stream));
    session.on('close', () => this.#end());
  }

  /** Ends the connection in order. Resolves when the client knows which calls were taken. */
  retire(quietMs = QUIET_MS): Promise<void> {
    if (!this.#isRetiring) {
      this.#isRetiring = true;
      this.#cancelIdle();
      this.#awaitQuiet(this.#options.clock.now() + quietMs);
    }
    return this.#retired;
  }

  #onCall(stream: ServerHttp2Stream): void {
    this.#openCalls++;
    const onEnding = () => this.#endings++;
    stream.once('wantTrailers', onEnding);
    stream.once('close', () => {
      onEnding();
      this.#openCalls--;
      this.#idleSince = this.#options.clock.now();
      const wasReset = stream.rstCode !== constants.NGHTTP2_NO_ERROR || !stream.readableEnded;
      if (wasReset && this.#resets.spend()) void this.retire(HURRIED_QUIET_MS);
    });
  }

  /** Checks again when the time could be over, so that a call costs no timer. */
  #watchIdleness(delayMs: number): void {
    const { clock, maxConnectionIdleMs } = this.#options;
    this.#cancelIdle = clock.after(delayMs, () => {
      const leftMs =
        this.#openCalls > 0
          ? maxConnectionIdleMs
          : this.#idleSince + maxConnectionIdleMs - clock.now();
      if (leftMs > 0) this.#watchIdleness(leftMs);
      else void this.retire();
    });
  }

  #reachAge(): void {
    const { clock, maxConnectionAgeMs } = this.#options;
    void this.retire().then(() => {
      if (!this.#session.destroyed)
        this.#cancelAge = clock.after(maxConnectionAgeMs, () => this.#connection.destroy());
    });
  }

  #awaitQuiet(until: number): void {
    const { clock } = this.#options;
    const endingsBefore = this.#endings;
    this.#afterRoundTrip(until - clock.now(), () => {
      if (this.#endings === endingsBefore || clock.now() >= until)
        this.#notify(clock.now() + ROUND_TRIP_MS);
      else this.#cancelStep = clock.after(PAUSE_MS, () => this.#awaitQuiet(until));
    });
  }

  #notify(until: number): void {
    const { clock } = this.#options;
    const outcome = sendShutdownNotice(this.#connection);
    if (outcome === 'sent') this.#afterRoundTrip(ROUND_TRIP_MS, () => this.#close());
    else if (outcome === 'busy' && clock.now() < until) {
      this.#cancelStep = clock.after(PAUSE_MS, () => this.#notify(until));
    } else this.#close();
  }

  #close(): void {
    this.#session.close();
    this.#onRetired();
  }

  /** Calls back once: when the client has answered a PING, or after `limitMs`. */
  #afterRoundTrip(limitMs: number, callback: () => void): void {
    let isOver = false;
    const proceed = () => {
      if (isOver || this.#session.destroyed) return;
      isOver = true;
      cancel();
      callback();
    };
    const cancel = this.#options.clock.after(limitMs, proceed);
    this.#cancelStep = cancel;
    if (!this.#session.destroyed) this.#session.ping((error) => error === null && proceed());
  }

  #end(): void {
    this.#cancelIdle();
    this.#cancelAge();
    this.#cancelStep();
    this.#onRetired();
  }
}
