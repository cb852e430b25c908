/**
 * Callers whose uploads are slow, or break off: by hand over HTTP/2, because no client library does
 * that.
 */
import { status } from '@grpc/grpc-js';
import { seededRandom } from '#vitserve/client/bench/arrivals.js';
import { messageType } from '../../support/grpc-client.js';
import { framed, RawConnection, reasonIn } from '../../support/raw-call.js';
import { fateOf } from './ledger.js';
import { type Actor, classifiedText, type Picture, pause, type Stage, TOP_K } from './stage.js';

/**
 * Uploads that are reset before they are complete. Below the rate that HTTP/2 takes for an attack.
 */
export function resets(ratePerSecond = 20): Actor {
  return async (stage) => {
    const random = seededRandom(5);
    let connection: RawConnection | null = null;
    for (let at = 0; !stage.signal.aborted; at++) {
      connection = await reconnected(stage, connection);
      if (connection === null) continue;
      const message = framed({
        image: stage.pictures.good[at % stage.pictures.good.length]?.image,
      });
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
  const code =
    headers['grpc-status'] === undefined
      ? 'CUT'
      : (status[Number(headers['grpc-status'])] ?? 'UNKNOWN');
  if (code !== 'OK') {
    const message = decodeURIComponent(String(headers['grpc-message'] ?? ''));
    return fateOf({ code, reason: reasonIn(headers), message }, { expected: classified });
  }
  const answer = messageType('vitserve.v1.ClassifyResponse').deserialize(
    (await call.body).subarray(5),
  );
  return fateOf(classifiedText(answer as Parameters<typeof classifiedText>[0]), {
    expected: classified,
  });
}

/** The connection, or a new one if it is gone; null, after a moment, without a server. */
async function reconnected(
  stage: Stage,
  connection: RawConnection | null,
): Promise<RawConnection | null> {
  if (connection !== null && !connection.closed) return connection;
  try {
    return await RawConnection.open(stage.scope, Number(stage.address.split(':').at(-1)));
  } catch {
    await pause(100, stage.signal);
    return null;
  }
}
