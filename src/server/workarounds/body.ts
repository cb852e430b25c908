/**
 * The body of a call before grpc-js has read it: who looks at its pieces, who holds it back, who
 * cuts it into messages.
 *
 * Several may hold it back at a time (the door for want of a place, an inflation that has enough to
 * do); it goes on when nobody does and grpc-js wants more of it. Known of grpc-js's inside here:
 * the innermost call has `stream`, `decoder`, `decompressMessage`, `isReadPending` and `readQueue`.
 * Where an update moves one of them, `test/integration/large-messages.test.ts` fails.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { StreamMessages } from '../transport/stream-messages.js';

type Unfold = (message: Buffer, encoding: string) => Buffer | Promise<Buffer>;

interface BaseCall {
  stream?: Partial<ServerHttp2Stream>;
  decoder?: { write(bytes: Buffer): Buffer[] };
  decompressMessage?: Unfold;
  incomingEncoding?: string;
  maxReceiveMessageSize?: number;
  isReadPending?: boolean;
  readQueue?: readonly unknown[];
}

const holds = new WeakMap<object, number>();

/** Reads no further until the returned function is called, and everybody else's too. */
export function holdBody(call: ServerInterceptingCallInterface): () => void {
  const base = call as BaseCall;
  const { stream } = base;
  if (stream === undefined) return () => {};
  holds.set(stream, (holds.get(stream) ?? 0) + 1);
  stream.pause?.();
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    const left = (holds.get(stream) ?? 1) - 1;
    holds.set(stream, left);
    // Where it has a message and was not asked for the next one, it goes on by itself when it is.
    const wantsMore = base.isReadPending !== false && (base.readQueue?.length ?? 0) === 0;
    if (left === 0 && wantsMore) stream.resume?.();
  };
}

/** Calls back with every piece of the body as it arrives. */
export function watchBody(call: ServerInterceptingCallInterface, onPiece: () => void): void {
  (call as BaseCall).stream?.on?.('data', onPiece);
}

/**
 * Has the body cut into messages by `StreamMessages`; null where grpc-js's own decoder is not where
 * it was.
 */
export function cutMessages(
  call: ServerInterceptingCallInterface,
  maxImageBytes: number,
): StreamMessages | null {
  const base = call as BaseCall;
  const {
    decompressMessage,
    incomingEncoding: encoding,
    maxReceiveMessageSize: maxMessageBytes,
  } = base;
  if (base.decoder === undefined || decompressMessage === undefined) return null;
  if (encoding === undefined || maxMessageBytes === undefined) return null;
  const messages = new StreamMessages({
    maxImageBytes,
    maxMessageBytes,
    encoding,
    hold: () => holdBody(call),
  });
  base.decoder = messages;
  base.decompressMessage = (message, as) =>
    messages.contentOf(message) ?? decompressMessage.call(base, message, as);
  return messages;
}
