/**
 * Access to the body of a call before grpc-js reads it: watch its pieces, hold it back, cut it into
 * messages.
 *
 * Several parts may hold the body back at a time (the call while it waits for an upload allowance,
 * an inflation with a full backlog). It resumes when none does and grpc-js wants more.
 *
 * - Fact: grpc-js ends a stream at a message above the limit, and applies backpressure only between
 *   messages. Its innermost call (`server-interceptors.ts`) has `stream`, `decoder`,
 *   `decompressMessage`, `isReadPending` and `readQueue`.
 * - Seen with: @grpc/grpc-js 1.14.7.
 * - Fails when it breaks: `test/integration/large-messages.test.ts`.
 * - Delete when: grpc-js lets a server replace its decoder and pause the body of a call.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

type Decompress = (message: Buffer, encoding: string) => Buffer | Promise<Buffer>;

interface BaseCall {
  stream?: Partial<ServerHttp2Stream>;
  decoder?: { write(bytes: Buffer): Buffer[] };
  decompressMessage?: Decompress;
  incomingEncoding?: string;
  maxReceiveMessageSize?: number;
  isReadPending?: boolean;
  readQueue?: readonly unknown[];
}

/** What takes the place of the decoder. */
export interface MessageCutter {
  /** The messages that these bytes complete, each in its frame. */
  write(bytes: Buffer): Buffer[];
  /** The content of a message that `write` returned; null: grpc-js decompresses it. */
  contentOf(message: Buffer): Promise<Buffer> | null;
}

/** What grpc-js knows of the call. */
export interface CutterOptions {
  /** The limit of a message. */
  readonly maxMessageBytes: number;
  /** `grpc-encoding` of the call. */
  readonly encoding: string;
  /** Holds the body back until the returned function is called. */
  readonly hold: () => () => void;
}

const holds = new WeakMap<object, number>();

/** Pauses the body until every hold on it is released; returns the release of this one. */
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
    // With a message in hand and no request for the next, grpc-js resumes the stream itself later.
    const wantsMore = base.isReadPending !== false && (base.readQueue?.length ?? 0) === 0;
    if (left === 0 && wantsMore) stream.resume?.();
  };
}

/** Calls back for every piece of the body as it arrives. */
export function watchBody(call: ServerInterceptingCallInterface, onPiece: () => void): void {
  (call as BaseCall).stream?.on?.('data', onPiece);
}

/** Replaces the decoder of the call. Null where grpc-js has moved it. */
export function cutMessages<Cutter extends MessageCutter>(
  call: ServerInterceptingCallInterface,
  create: (options: CutterOptions) => Cutter,
): Cutter | null {
  const base = call as BaseCall;
  const { decompressMessage, incomingEncoding: encoding, maxReceiveMessageSize } = base;
  if (base.decoder === undefined || decompressMessage === undefined) return null;
  if (encoding === undefined || maxReceiveMessageSize === undefined) return null;
  const cutter = create({
    maxMessageBytes: maxReceiveMessageSize,
    encoding,
    hold: () => holdBody(call),
  });
  base.decoder = cutter;
  base.decompressMessage = (message, as) =>
    cutter.contentOf(message) ?? decompressMessage.call(base, message, as);
  return cutter;
}
