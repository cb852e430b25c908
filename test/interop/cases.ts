/**
 * The interop cases for a grpc-js client. Each rejects if the server does not behave as specified.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import type { Scope } from '../support/server.js';
import { TestServiceClient, UnimplementedServiceClient } from './test-service.js';

interface Output {
  readonly payload: { readonly body: Buffer };
}
interface UnaryOutcome {
  readonly response?: Output;
  readonly initial: Metadata;
  readonly ending: StatusObject;
}
type Method = (...args: unknown[]) => unknown;
type Duplex = ClientDuplexStream<object, Output>;

const LARGE_REQUEST = 271_828;
const LARGE_RESPONSE = 314_159;
const SENT = [27_182, 8, 1_828, 45_904];
const ANSWERED = [31_415, 9, 2_653, 58_979];
const SPECIAL_MESSAGE = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
const PATIENCE_MS = 20_000;
/** grpc.compressionAlgorithms.gzip, for all messages of a channel. */
const GZIP = 2;

const payload = (size: number) => ({ body: Buffer.alloc(size) });
const outputs = (...sizes: number[]) => sizes.map((size) => ({ size }));
const deadline = () => ({ deadline: Date.now() + PATIENCE_MS });

class Caller {
  readonly #stub: Readonly<Record<string, Method>>;

  constructor(
    scope: Scope,
    address: string,
    { gzip = false, Constructor = TestServiceClient } = {},
  ) {
    const client = new Constructor(address, credentials.createInsecure(), {
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
      ...(gzip ? { 'grpc.default_compression_algorithm': GZIP } : {}),
    });
    this.#stub = client as unknown as Record<string, Method>;
    scope.after(() => client.close());
  }

  unary(method: string, request: object, metadata = new Metadata()): Promise<UnaryOutcome> {
    return new Promise((resolve) => {
      let initial = new Metadata();
      let response: Output | undefined;
      const reply = (_error: ServiceError | null, answer?: Output) => {
        response = answer;
      };
      const call = this.#stub[method]?.(
        request,
        metadata,
        deadline(),
        reply,
      ) as ClientReadableStream<object>;
      call.on('metadata', (received: Metadata) => {
        initial = received;
      });
      call.on('status', (ending: StatusObject) =>
        resolve({ ...(response && { response }), initial, ending }),
      );
    });
  }

  duplex(metadata = new Metadata(), timeoutMs = PATIENCE_MS): Duplex {
    const call = this.#stub.FullDuplexCall?.(metadata, {
      deadline: Date.now() + timeoutMs,
    }) as Duplex;
    return call.on('error', () => {});
  }

  outputs(request: object): ClientReadableStream<Output> {
    const call = this.#stub.StreamingOutputCall?.(
      request,
      new Metadata(),
      deadline(),
    ) as ClientReadableStream<Output>;
    return call.on('error', () => {});
  }

  input(reply: (error: ServiceError | null, answer?: { aggregatedPayloadSize: number }) => void) {
    return this.#stub.StreamingInputCall?.(
      new Metadata(),
      deadline(),
      reply,
    ) as ClientWritableStream<object>;
  }
}

/** How a call ends, ignoring its messages until then. */
function endingOf(call: Duplex): Promise<StatusObject> {
  call.resume();
  return new Promise((resolve) => call.on('status', resolve));
}

function assertOk({ code, details }: StatusObject): void {
  assert.equal(code, status.OK, details);
}

async function sizesOf(call: AsyncIterable<Output>): Promise<number[]> {
  const sizes: number[] = [];
  for await (const { payload } of call) sizes.push(payload.body.length);
  return sizes;
}

const customMetadata = () => {
  const metadata = new Metadata();
  metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
  metadata.set('x-grpc-test-echo-trailing-bin', Buffer.from('ababab', 'hex'));
  return metadata;
};

function assertEchoed(initial: Metadata, trailing: Metadata): void {
  assert.deepEqual(initial.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value']);
  assert.deepEqual(trailing.get('x-grpc-test-echo-trailing-bin'), [Buffer.from('ababab', 'hex')]);
}

/** By the gRPC project's names. */
export const CASES: Readonly<Record<string, (scope: Scope, address: string) => Promise<void>>> = {
  async empty_unary(scope, address) {
    assertOk((await new Caller(scope, address).unary('EmptyCall', {})).ending);
  },

  async large_unary(scope, address) {
    const request = { responseSize: LARGE_RESPONSE, payload: payload(LARGE_REQUEST) };
    const { ending, response } = await new Caller(scope, address).unary('UnaryCall', request);
    assertOk(ending);
    assert.deepEqual(response?.payload.body, Buffer.alloc(LARGE_RESPONSE));
  },

  async client_compressed_unary(scope, address) {
    const [plain, gzip] = [new Caller(scope, address), new Caller(scope, address, { gzip: true })];
    const ask = (caller: Caller, expected: boolean) =>
      caller.unary('UnaryCall', {
        expectCompressed: { value: expected },
        responseSize: LARGE_RESPONSE,
        payload: payload(LARGE_REQUEST),
      });
    assert.equal((await ask(plain, true)).ending.code, status.INVALID_ARGUMENT, 'it does not look');
    for (const [caller, expected] of [[gzip, true] as const, [plain, false] as const]) {
      const { ending, response } = await ask(caller, expected);
      assertOk(ending);
      assert.equal(response?.payload.body.length, LARGE_RESPONSE);
    }
  },

  async client_streaming(scope, address) {
    const caller = new Caller(scope, address);
    const sum = await new Promise<number | undefined>((resolve, reject) => {
      const call = caller.input((error, answer) =>
        error ? reject(error) : resolve(answer?.aggregatedPayloadSize),
      );
      for (const size of SENT) call.write({ payload: payload(size) });
      call.end();
    });
    assert.equal(sum, 74_922);
  },

  async server_streaming(scope, address) {
    const call = new Caller(scope, address).outputs({ responseParameters: outputs(...ANSWERED) });
    const ending = once(call, 'status');
    assert.deepEqual(await sizesOf(call), ANSWERED);
    assertOk((await ending)[0]);
  },

  async ping_pong(scope, address) {
    const call = new Caller(scope, address).duplex();
    for (const [at, size] of SENT.entries()) {
      const wanted = ANSWERED[at] as number;
      call.write({ responseParameters: outputs(wanted), payload: payload(size) });
      const [answer] = (await once(call, 'data')) as [Output];
      assert.equal(answer.payload.body.length, wanted);
    }
    call.end();
    assertOk(await endingOf(call));
  },

  async empty_stream(scope, address) {
    const call = new Caller(scope, address).duplex();
    call.end();
    const ending = once(call, 'status');
    assert.deepEqual(await sizesOf(call), []);
    assertOk((await ending)[0]);
  },

  async cancel_after_begin(scope, address) {
    const caller = new Caller(scope, address);
    const error = await new Promise<ServiceError | null>((resolve) =>
      caller.input(resolve).cancel(),
    );
    assert.equal(error?.code, status.CANCELLED);
  },

  async cancel_after_first_response(scope, address) {
    const call = new Caller(scope, address).duplex();
    call.write({
      responseParameters: outputs(ANSWERED[0] as number),
      payload: payload(SENT[0] as number),
    });
    await once(call, 'data');
    call.cancel();
    assert.equal((await endingOf(call)).code, status.CANCELLED);
  },

  async timeout_on_sleeping_server(scope, address) {
    const call = new Caller(scope, address).duplex(new Metadata(), 1);
    call.write({ payload: payload(SENT[0] as number) });
    assert.equal((await endingOf(call)).code, status.DEADLINE_EXCEEDED);
  },

  async custom_metadata(scope, address) {
    const caller = new Caller(scope, address);
    const request = { responseSize: 1, payload: payload(1) };
    const { initial, ending } = await caller.unary('UnaryCall', request, customMetadata());
    assertOk(ending);
    assertEchoed(initial, ending.metadata);

    const call = caller.duplex(customMetadata());
    const received = once(call, 'metadata');
    call.write({ responseParameters: outputs(1), payload: payload(1) });
    call.end();
    const duplexEnding = await endingOf(call);
    assertOk(duplexEnding);
    assertEchoed((await received)[0], duplexEnding.metadata);
  },

  async status_code_and_message(scope, address) {
    const caller = new Caller(scope, address);
    const responseStatus = { code: status.UNKNOWN, message: 'test status message' };
    const call = caller.duplex();
    const duplexEnding = endingOf(call);
    call.write({ responseStatus });
    call.end();
    for (const ending of [
      (await caller.unary('UnaryCall', { responseStatus })).ending,
      await duplexEnding,
    ]) {
      assert.deepEqual([ending.code, ending.details], [status.UNKNOWN, 'test status message']);
    }
  },

  async special_status_message(scope, address) {
    const responseStatus = { code: status.UNKNOWN, message: SPECIAL_MESSAGE };
    const { ending } = await new Caller(scope, address).unary('UnaryCall', { responseStatus });
    assert.deepEqual([ending.code, ending.details], [status.UNKNOWN, SPECIAL_MESSAGE]);
  },

  async unimplemented_method(scope, address) {
    const { ending } = await new Caller(scope, address).unary('UnimplementedCall', {});
    assert.equal(ending.code, status.UNIMPLEMENTED);
  },

  async unimplemented_service(scope, address) {
    const caller = new Caller(scope, address, { Constructor: UnimplementedServiceClient });
    assert.equal((await caller.unary('UnimplementedCall', {})).ending.code, status.UNIMPLEMENTED);
  },
};
