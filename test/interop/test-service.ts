/**
 * gRPC's TestService behind the product's own front: the same listener, server, admission, limits
 * and windows. So the interop cases of other gRPC implementations test this stack, and not grpc-js
 * alone.
 *
 * UnaryCall is admitted like an image (upload allowance, then permit), the calls that send a stream
 * like ClassifyStream (a place among the streams, each message read in its turn), the rest like
 * calls of a few bytes.
 */
import { join } from 'node:path';
import {
  Metadata,
  makeGenericClientConstructor,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { systemClock } from '#vitserve/clock.js';
import { Admission } from '#vitserve/server/admission/admission.js';
import { Permits } from '#vitserve/server/admission/permits.js';
import { RejectionThrottle } from '#vitserve/server/admission/rejection-throttle.js';
import { Call, type CallKind, OpenCalls } from '#vitserve/server/rpc/call.js';
import { createGrpcServer } from '#vitserve/server/rpc/grpc-server.js';
import { createInterceptor } from '#vitserve/server/rpc/interceptor.js';
import { Listener } from '#vitserve/server/transport/listener.js';
import { REPOSITORY, type Scope } from '../support/server.js';

export const TESTING_PROTO = 'test/interop/testing.proto';
const MAX_IMAGE_BYTES = 16 * 2 ** 20;
const PERMITS = 4;

const definition = loadSync(join(REPOSITORY, TESTING_PROTO), {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const serviceOf = (name: string) => definition[`grpc.testing.${name}`] as ServiceDefinition;
export const TestServiceClient = makeGenericClientConstructor(
  serviceOf('TestService'),
  'TestService',
);
export const UnimplementedServiceClient = makeGenericClientConstructor(
  serviceOf('UnimplementedService'),
  'UnimplementedService',
);

interface Payload {
  readonly body: Buffer;
}
interface EchoStatus {
  readonly code: number;
  readonly message: string;
}
interface SimpleRequest {
  readonly responseSize: number;
  readonly responseStatus: EchoStatus | null;
  readonly expectCompressed: { readonly value: boolean } | null;
}
interface OutputRequest {
  readonly responseParameters: readonly { readonly size: number; readonly intervalUs: number }[];
  readonly responseStatus: EchoStatus | null;
}

const PATH = '/grpc.testing.TestService/';
const KINDS: Readonly<Record<string, CallKind>> = {
  [`${PATH}UnaryCall`]: 'image',
  [`${PATH}StreamingInputCall`]: 'stream',
  [`${PATH}FullDuplexCall`]: 'stream',
};

const ECHOED_INITIAL = 'x-grpc-test-echo-initial';
const ECHOED_TRAILING = 'x-grpc-test-echo-trailing-bin';

/** Whether the first message of a call arrived compressed, by the call's metadata. */
const compressed = new WeakMap<Metadata, { first: boolean | null }>();

export interface TestServer {
  readonly address: string;
  /** Method and status of every ended call, in that order, as they would be counted. */
  readonly ended: readonly string[];
  /** What calls hold in admission now: 0 without calls. */
  held(): number;
}

/** Listens on a free port until the scope ends. */
export async function startTestServer(scope: Scope): Promise<TestServer> {
  const permits = new Permits(PERMITS, systemClock);
  const admission = new Admission({ permits, clock: systemClock, uploadTimeoutMs: 30_000 });
  admission.gate = 'OPEN';
  const ended: string[] = [];
  const intercept = createInterceptor({
    engine: { permits, admission, checkDeadline: () => {} },
    clock: systemClock,
    report: (event) => {
      if (event.kind === 'call-ended') ended.push(`${event.call.method} ${event.code}`);
    },
    maxImageBytes: MAX_IMAGE_BYTES,
    uploadTimeoutMs: 30_000,
    warmUpToken: '',
    throttle: new RejectionThrottle({
      clock: systemClock,
      imagesPerSecond: () => 0,
      report: () => {},
    }),
    authenticate: () => {},
    kindOf: (path) => KINDS[path] ?? 'other',
    open: new OpenCalls(),
  });
  const { server, inject } = createGrpcServer({
    maxMessageBytes: MAX_IMAGE_BYTES + 64 * 1024,
    maxConnectionAgeMs: 3_600_000,
    interceptor: noteCompression(intercept),
  });
  server.addService(serviceOf('TestService'), HANDLERS);
  const listener = await Listener.listen({
    option: 'address',
    address: { host: '127.0.0.1', port: 0 },
    tls: null,
    maxConnections: 100,
    clock: systemClock,
    report: () => {},
    inject,
  });
  scope.after(() => {
    listener.destroy();
    server.forceShutdown();
  });
  return {
    address: `127.0.0.1:${listener.port}`,
    ended,
    held: () => admission.uploads + permits.inUse,
  };
}

/** Looks at the first byte of a call's body, because grpc-js inflates messages without telling. */
function noteCompression(inner: ServerInterceptor): ServerInterceptor {
  return (method, call) => {
    const seen: { first: boolean | null } = { first: null };
    const { stream } = call as unknown as { stream: NodeJS.ReadableStream };
    stream.on('data', (piece: Buffer) => {
      seen.first ??= piece[0] === 1;
    });
    return new ServerInterceptingCall(inner(method, call), {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            compressed.set(metadata, seen);
            pass(metadata);
          },
        }),
    });
  };
}

const payload = (size: number) => ({ type: 'COMPRESSABLE', body: Buffer.alloc(size) });

function trailersFor(received: Metadata): Metadata {
  const trailers = new Metadata();
  for (const value of received.get(ECHOED_TRAILING)) trailers.add(ECHOED_TRAILING, value);
  return trailers;
}

function echoInitial(call: {
  readonly metadata: Metadata;
  sendMetadata(metadata: Metadata): void;
}): void {
  const initial = new Metadata();
  for (const value of call.metadata.get(ECHOED_INITIAL)) initial.add(ECHOED_INITIAL, value);
  if (call.metadata.get(ECHOED_INITIAL).length > 0) call.sendMetadata(initial);
}

async function writeOutputs(
  call: { write(message: object): boolean; readonly cancelled: boolean },
  request: OutputRequest,
): Promise<void> {
  for (const { size, intervalUs } of request.responseParameters) {
    if (intervalUs > 0) await new Promise((resolve) => setTimeout(resolve, intervalUs / 1000));
    if (call.cancelled) return;
    call.write({ payload: payload(size) });
  }
}

const HANDLERS = {
  EmptyCall: (_call: ServerUnaryCall<object, object>, reply: sendUnaryData<object>) =>
    reply(null, {}),

  UnaryCall: (call: ServerUnaryCall<SimpleRequest, object>, reply: sendUnaryData<object>) => {
    const { responseSize, responseStatus, expectCompressed } = call.request;
    const wasCompressed = compressed.get(call.metadata)?.first;
    if (expectCompressed !== null && expectCompressed.value !== wasCompressed) {
      reply({
        code: status.INVALID_ARGUMENT,
        details: `the message came with the compressed flag ${wasCompressed}`,
      });
      return;
    }
    if (responseStatus !== null && responseStatus.code !== 0) {
      reply({ code: responseStatus.code, details: responseStatus.message });
      return;
    }
    echoInitial(call);
    reply(null, { payload: payload(responseSize) }, trailersFor(call.metadata));
  },

  StreamingOutputCall: (call: ServerWritableStream<OutputRequest, object>) => {
    void writeOutputs(call, call.request).then(() => call.end());
  },

  StreamingInputCall: (
    call: ServerReadableStream<{ payload: Payload | null }, object>,
    reply: sendUnaryData<object>,
  ) => {
    let bytes = 0;
    call.on('data', (message: { payload: Payload | null }) => {
      bytes += message.payload?.body.length ?? 0;
      Call.of(call).pace?.next();
    });
    call.on('end', () => reply(null, { aggregatedPayloadSize: bytes }));
  },

  FullDuplexCall: (call: ServerDuplexStream<OutputRequest, object>) => {
    echoInitial(call);
    let answered = Promise.resolve();
    call.on('data', (request: OutputRequest) => {
      answered = writeOutputs(call, request).then(() => {
        const { responseStatus } = request;
        if (responseStatus !== null && responseStatus.code !== 0) {
          call.emit('error', { code: responseStatus.code, details: responseStatus.message });
        } else Call.of(call).pace?.next();
      });
    });
    call.on('end', () => void answered.then(() => call.end(trailersFor(call.metadata))));
  },
};
