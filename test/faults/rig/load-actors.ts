/**
 * Callers of every kind. Each has connections of its own, enters what it sends into the ledger, and says what came of it.
 * A caller without a deadline has none at all: a server that forgets it is found by the ledger and by nothing else.
 */
import { status } from '@grpc/grpc-js';
import { seededRandom } from '#vitserve/bench/arrivals.js';
import { type Load, runLoad } from '#vitserve/bench/load.js';
import { VitserveError } from '#vitserve/client/client.js';
import { systemClock } from '#vitserve/clock.js';
import {
  CallFailure,
  type CallSettings,
  messageType,
  type PlainClient,
  readDetails,
  type StreamResponse,
} from '../../support/grpc-client.js';
import { framed, RawConnection, reasonIn } from '../../support/raw-call.js';
import { type Circumstances, type Entry, type Failure, fateOf, NO_CONNECTION } from './ledger.js';
import {
  type Actor,
  classifiedText,
  embeddedText,
  openClient,
  type Picture,
  pause,
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
  /** Absent: the good ones. */
  readonly pictures?: 'good' | 'bad';
  /** Absent: a plain client. */
  readonly connect?: (stage: Stage) => Asked;
}

/** What a caller calls; any client will do. */
export interface Asked {
  classify(
    request: { readonly image: Buffer; readonly topK: number },
    settings: CallSettings,
  ): Promise<Parameters<typeof classifiedText>[0]>;
  embed(request: { readonly image: Buffer }, settings: CallSettings): Promise<Parameters<typeof embeddedText>[0]>;
}

/** Every so-manieth call asks for the embedding instead of the classes. */
const EMBED_EVERY = 4;

/** Callers that wait for their answer before they ask again. */
export function closedCallers(callers: number, options: CallerOptions = {}): Actor {
  return calling({ kind: 'closed', callers }, { name: 'closed loop', ...options });
}

/** A crowd that knows nothing of the server: arrivals of a Poisson process. */
export function poissonCallers(ratePerSecond: number, options: CallerOptions = {}, seed = 1): Actor {
  return calling({ kind: 'open', ratePerSecond, seed }, { name: 'Poisson', ...options });
}

/** Callers who lose patience. */
export function leavers(ratePerSecond: number, cancelWithinMs = 60): Actor {
  return poissonCallers(ratePerSecond, { name: 'cancels', cancelWithinMs }, 2);
}

/** Callers whose deadlines lie between hopeless and generous. */
export function hurried(ratePerSecond: number): Actor {
  return poissonCallers(ratePerSecond, { name: 'deadlines', timeoutsMs: [2, 20, 100, 1_000, 5_000] }, 3);
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
        const leaveMs = options.cancelWithinMs === undefined ? null : random() * options.cancelWithinMs;
        const entry = stage.ledger.sent(options.name ?? '', performance.now() - (systemClock.now() - dueAt));
        const fate = await call(client, pictures[at % pictures.length] as Picture, at % EMBED_EVERY === 1, {
          timeoutMs: timeoutMs ?? Number.POSITIVE_INFINITY,
          leaveMs,
        });
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

const STREAM_LENGTH = 60;
const STREAM_WINDOW = 6;
/** How soon a stream looks again whether it may send. */
const FULL_WINDOW_MS = 2;

/** Bulk work, a bad image in it now and then; every third stream is left in the middle. `paceMs`: from image to image. */
export function streams(count: number, paceMs = 0): Actor {
  return async (stage) => {
    const client = openClient(stage);
    await Promise.all(
      Array.from({ length: count }, async (_, at) => {
        for (let stream = at; !stage.signal.aborted; stream++) {
          if (!(await oneStream(stage, client, stream, paceMs))) await pause(100, stage.signal);
        }
      }),
    );
  };
}

/** Resolves to whether the server took it to its end. */
async function oneStream(stage: Stage, client: PlainClient, number: number, paceMs: number): Promise<boolean> {
  const { good, bad } = stage.pictures;
  const stream = client.stream({ timeoutMs: Number.POSITIVE_INFINITY });
  const open = new Map<string, { readonly entry: Entry; readonly circumstances: Circumstances }>();
  const leavesAt = number % 3 === 2 ? STREAM_LENGTH / 2 : Number.POSITIVE_INFINITY;
  let received = 0;
  let ending: CallFailure | null | undefined;
  const read = async () => {
    while ((await stream.count(received + 1).catch(() => null)) !== null) {
      const message = stream.messages[received++] as StreamResponse;
      const asked = open.get(message.requestId);
      open.delete(message.requestId);
      if (asked === undefined) stage.ledger.unasked();
      else asked.entry.ended(fateOf(outcomeIn(message), asked.circumstances));
    }
    ending = await stream.ended;
  };
  const reading = read();
  for (let sent = 0; sent < STREAM_LENGTH && ending === undefined && !stage.signal.aborted && received < leavesAt; ) {
    if (open.size < STREAM_WINDOW) {
      const isBad = sent % 20 === 7 && bad.length > 0;
      const picture = (isBad ? bad[sent % bad.length] : good[(number + sent) % good.length]) as Picture;
      const circumstances = { expected: picture.classified, cancelled: Number.isFinite(leavesAt) };
      open.set(String(sent), { entry: stage.ledger.sent('streams'), circumstances });
      stream.send(String(sent), { image: picture.image, topK: TOP_K });
      sent++;
    }
    await pause(Math.max(paceMs, FULL_WINDOW_MS), stage.signal);
  }
  if (received >= leavesAt) stream.cancel();
  else stream.finish();
  await reading;
  const failure = ending ?? null;
  for (const { entry, circumstances } of open.values()) {
    // A stream that ends well without an answer has forgotten the image: its entry stays open.
    if (failure !== null) entry.ended(fateOf(failure, circumstances));
  }
  return failure === null || failure.code === 'CANCELLED';
}

function outcomeIn({ result, response, status: told }: StreamResponse): string | Failure {
  if (result === 'response' && response !== undefined) return classifiedText(response);
  if (told === undefined) return 'neither response nor status';
  return { code: status[told.code] ?? String(told.code), reason: readDetails(told).reason, message: told.message };
}

/** Uploads that are reset before they are complete. Below the rate at which HTTP/2 takes resets for an attack. */
export function resets(ratePerSecond = 20): Actor {
  return async (stage) => {
    const random = seededRandom(5);
    let connection: RawConnection | null = null;
    for (let at = 0; !stage.signal.aborted; at++) {
      connection = await reconnected(stage, connection);
      if (connection === null) continue;
      const message = framed({ image: stage.pictures.good[at % stage.pictures.good.length]?.image });
      const entry = stage.ledger.sent('resets');
      const upload = connection.begin('Classify');
      upload.write(message.subarray(0, Math.floor(message.length * random())));
      await pause(random() * 20, stage.signal);
      upload.cancel();
      entry.ended({ kind: 'cancelled' });
      await pause((-Math.log(1 - random()) * 1_000) / ratePerSecond, stage.signal);
    }
  };
}

const SLOW_PIECES = 10;

/** Callers whose image takes `lastsMs` to arrive, which is less than upload-timeout allows. */
export function slowUploads(count: number, lastsMs: number): Actor {
  return async (stage) => {
    let connection: RawConnection | null = null;
    const uploader = async (first: number) => {
      for (let at = first; !stage.signal.aborted; at += count) {
        connection = await reconnected(stage, connection);
        if (connection === null) continue;
        const picture = stage.pictures.good[at % stage.pictures.good.length] as Picture;
        const entry = stage.ledger.sent('slow uploads');
        entry.ended(await upload(connection, picture, lastsMs));
      }
    };
    await Promise.all(Array.from({ length: count }, (_, at) => uploader(at)));
  };
}

async function upload(connection: RawConnection, { image, classified }: Picture, lastsMs: number) {
  const call = connection.begin('Classify');
  const message = framed({ image, topK: TOP_K });
  const answered = new AbortController();
  void call.ended.then(() => answered.abort());
  for (let piece = 0; piece < SLOW_PIECES; piece++) {
    const at = (part: number) => Math.floor((message.length * part) / SLOW_PIECES);
    call.write(message.subarray(at(piece), at(piece + 1)));
    await pause(lastsMs / SLOW_PIECES, answered.signal);
  }
  call.finish();
  const { headers } = await call.ended;
  const code = headers['grpc-status'] === undefined ? 'CUT' : (status[Number(headers['grpc-status'])] ?? 'UNKNOWN');
  if (code !== 'OK') {
    const message = decodeURIComponent(String(headers['grpc-message'] ?? ''));
    return fateOf({ code, reason: reasonIn(headers), message }, { expected: classified });
  }
  const answer = messageType('vitserve.v1.ClassifyResponse').deserialize((await call.body).subarray(5));
  return fateOf(classifiedText(answer as Parameters<typeof classifiedText>[0]), { expected: classified });
}

/** The connection, or a new one where it is gone; null, after a moment, where there is no server. */
async function reconnected(stage: Stage, connection: RawConnection | null): Promise<RawConnection | null> {
  if (connection !== null && !connection.closed) return connection;
  try {
    return await RawConnection.open(stage.scope, Number(stage.address.split(':').at(-1)));
  } catch {
    await pause(100, stage.signal);
    return null;
  }
}
