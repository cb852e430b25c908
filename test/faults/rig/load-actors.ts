/**
 * Callers of single images: with and without deadlines, some that cancel, some that send bad
 * images. Each has connections of its own, and enters its requests and their outcomes into the
 * ledger. A caller without a deadline has none at all: only the ledger finds a server that forgets
 * it.
 */
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import { type Load, runLoad } from '#vitserve/client/bench/load.js';
import { VitserveError } from '#vitserve/client/client.js';
import { systemClock } from '#vitserve/clock.js';
import { CallFailure, type CallSettings } from '../../support/grpc-client.js';
import { type Failure, fateOf, NO_CONNECTION } from './ledger.js';
import {
  type Actor,
  classifiedText,
  embeddedText,
  openClient,
  type Picture,
  type Stage,
  TOP_K,
} from './stage.js';

export interface CallerOptions {
  /** The actor's name in the ledger. */
  readonly name?: string;
  /** Each call takes the next one. Absent: no deadlines. */
  readonly timeoutsMs?: readonly number[];
  /** Each call is cancelled after a random time up to this, if it has not ended. */
  readonly cancelWithinMs?: number;
  /** Default: the good ones. */
  readonly pictures?: 'good' | 'bad';
  /** Default: a plain client. */
  readonly connect?: (stage: Stage) => Asked;
}

/** The method that a caller needs of its client. */
export interface Asked {
  classify(
    request: { readonly image: Buffer; readonly topK: number },
    settings: CallSettings,
  ): Promise<Parameters<typeof classifiedText>[0]>;
  embed(
    request: { readonly image: Buffer },
    settings: CallSettings,
  ): Promise<Parameters<typeof embeddedText>[0]>;
}

/** Every n-th call requests the embedding instead of the classes. */
const EMBED_EVERY = 4;

/** Callers that wait for their answer before the next call. */
export function closedCallers(callers: number, options: CallerOptions = {}): Actor {
  return calling({ kind: 'closed', callers }, { name: 'closed loop', ...options });
}

/** An independent crowd: arrivals of a Poisson process. */
export function poissonCallers(
  ratePerSecond: number,
  options: CallerOptions = {},
  seed = 1,
): Actor {
  return calling({ kind: 'open', ratePerSecond, seed }, { name: 'Poisson', ...options });
}

/** Callers that cancel. */
export function leavers(ratePerSecond: number, cancelWithinMs = 60): Actor {
  return poissonCallers(ratePerSecond, { name: 'cancels', cancelWithinMs }, 2);
}

/** Callers whose deadlines lie between hopeless and generous. */
export function hurried(ratePerSecond: number): Actor {
  return poissonCallers(
    ratePerSecond,
    { name: 'deadlines', timeoutsMs: [2, 20, 100, 1_000, 5_000] },
    3,
  );
}

export function badImages(ratePerSecond: number): Actor {
  return poissonCallers(ratePerSecond, { name: 'bad images', pictures: 'bad' }, 4);
}

function calling(load: Load, options: CallerOptions): Actor {
  return async (stage) => {
    const client = (options.connect ?? openClient)(stage);
    const pictures = stage.pictures[options.pictures ?? 'good'];
    const random = seededRandom(pictures.length);
    let next = 0;
    await runLoad(load, {
      clock: systemClock,
      until: Number.POSITIVE_INFINITY,
      signal: stage.signal,
      call: async (dueAt) => {
        const at = next++;
        const timeoutMs = options.timeoutsMs?.[at % options.timeoutsMs.length];
        const leaveMs =
          options.cancelWithinMs === undefined ? null : random() * options.cancelWithinMs;
        const entry = stage.ledger.sent(
          options.name ?? '',
          performance.now() - (systemClock.now() - dueAt),
        );
        const fate = await call(
          client,
          pictures[at % pictures.length] as Picture,
          at % EMBED_EVERY === 1,
          {
            timeoutMs: timeoutMs ?? Number.POSITIVE_INFINITY,
            leaveMs,
          },
        );
        entry.ended(fate);
        return fate.kind !== 'refused' || fate.what !== NO_CONNECTION;
      },
    });
  };
}

async function call(
  client: Asked,
  picture: Picture,
  embeds: boolean,
  { timeoutMs, leaveMs }: { readonly timeoutMs: number; readonly leaveMs: number | null },
) {
  const leaving = new AbortController();
  const timer = leaveMs === null ? undefined : setTimeout(() => leaving.abort(), leaveMs);
  const settings = { timeoutMs, signal: leaving.signal };
  const { image } = picture;
  const outcome = await (embeds
    ? client.embed({ image }, settings).then(embeddedText)
    : client.classify({ image, topK: TOP_K }, settings).then(classifiedText)
  ).catch(failureFrom);
  clearTimeout(timer);
  return fateOf(outcome, {
    expected: embeds ? picture.embedded : picture.classified,
    cancelled: leaveMs !== null,
    hasDeadline: Number.isFinite(timeoutMs),
  });
}

function failureFrom(error: unknown): Failure {
  if (error instanceof CallFailure || error instanceof VitserveError) return error;
  throw error;
}
