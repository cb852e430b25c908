/**
 * The end of a connection that has done nothing wrong: it has reached its age, has been idle, has
 * nearly used up its resets, or the server stops. grpc-js can do the first two, but at the price of
 * calls: both of its GOAWAY frames go out at once, so a call that is on its way is refused, and
 * what is larger than its client's retry buffer is lost.
 *
 * Here it takes three steps:
 *
 * 1. Wait for a moment when nothing is on its way to the client: a PING is answered, and no call
 *    ended between. Clients on Node.js lose calls that they begin on an answer which they read
 *    together with GOAWAY; nothing a server sends afterwards helps.
 * 2. Ask for no further calls (`shutdown-notice.ts`), and wait until a PING is answered or
 *    ROUND_TRIP_MS have passed. Calls that were begun before the client knew arrive before the
 *    answer, and are taken.
 * 3. GOAWAY with the last call that was taken; the connection closes when its calls have ended.
 *
 * All of it has an end: QUIET_MS for the first step, less where it can't wait. Calls that are open
 * when the grace is over lose their connection, which is UNAVAILABLE to a client; to reset them
 * with NO_ERROR, as grpc-js does, is INTERNAL.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock } from '../../clock.js';
import { ResetBudget, type ResetLimits } from './reset-budget.js';
import { sendShutdownNotice } from './shutdown-notice.js';

/**
 * How long a moment without answers is waited for. A connection that never has one carries small
 * calls, which are sent again.
 */
const QUIET_MS = 1_000;
/** The same where the connection has few resets left. */
const HURRIED_QUIET_MS = 50;
/** The longest time for the client to say that it knows. */
const ROUND_TRIP_MS = 1_000;
/** Between two tries. */
const PAUSE_MS = 5;
/** Of the age, either way. */
const JITTER_SHARE = 0.1;

/**
 * A connection without an open call is asked to close after this, so that clients that have gone to
 * sleep do not fill up `max-connections`. Client libraries connect again with the next call.
 */
export const MAX_CONNECTION_IDLE_MS = 600_000;

export interface SessionLifeOptions {
  readonly clock: Clock;
  readonly maxConnectionIdleMs: number;
  /** 0: for ever. Calls that are open then may take as long again. */
  readonly maxConnectionAgeMs: number;
  readonly resetLimits: ResetLimits;
}

export class SessionLife {
  readonly #session: ServerHttp2Session;
  readonly #connection: Socket;
  readonly #options: SessionLifeOptions;
  readonly #resets: ResetBudget;
  /** Resolved with the last GOAWAY, or the end of the session. */
  readonly #retired: Promise<void>;
  #onRetired = () => {};
  #cancelIdle = () => {};
  #cancelAge = () => {};
  #cancelStep = () => {};
  #isRetiring = false;
  #openCalls = 0;
  #idleSince: number;
  /** Grows with every end of a call, and when its last bytes are given to the session. */
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

  /**
   * Ends the connection in order. Resolves when the client knows which calls were taken, or has
   * gone.
   */
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

  /** Looks again when the time could be over, so that a call costs no timer. */
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

  /** Calls back once: when the client has answered a PING, or when the time is over. */
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
