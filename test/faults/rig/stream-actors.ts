/**
 * Callers of ClassifyStream: each image is a request of its own in the ledger, identified by its
 * request_id.
 */
import { status } from '@grpc/grpc-js';
import {
  type CallFailure,
  type PlainClient,
  readDetails,
  type StreamResponse,
} from '../../support/grpc-client.js';
import { type Circumstances, type Entry, type Failure, fateOf } from './ledger.js';
import {
  type Actor,
  classifiedText,
  openClient,
  type Picture,
  pause,
  type Stage,
  TOP_K,
} from './stage.js';

const STREAM_LENGTH = 60;
const STREAM_WINDOW = 6;
/** How soon a stream checks again whether it may send. */
const FULL_WINDOW_MS = 2;

/**
 * Bulk work, sometimes with a bad image; every third stream is cancelled half-way. `paceMs`: from
 * image to image.
 */
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
async function oneStream(
  stage: Stage,
  client: PlainClient,
  number: number,
  paceMs: number,
): Promise<boolean> {
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
  for (
    let sent = 0;
    sent < STREAM_LENGTH && ending === undefined && !stage.signal.aborted && received < leavesAt;
  ) {
    if (open.size < STREAM_WINDOW) {
      const isBad = sent % 20 === 7 && bad.length > 0;
      const picture = (
        isBad ? bad[sent % bad.length] : good[(number + sent) % good.length]
      ) as Picture;
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
  return {
    code: status[told.code] ?? String(told.code),
    reason: readDetails(told).reason,
    message: told.message,
  };
}
