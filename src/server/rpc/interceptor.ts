/**
 * Passes what grpc-js receives for a call to its `Call` before the handler sees it: the metadata
 * first, before the body is read.
 */
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { Call, type CallContext } from './call.js';
import type { Pace } from './pace.js';

/** Reads the messages of its call one by one. */
class PacedCall extends ServerInterceptingCall {
  readonly #call: Call;
  readonly #pace: Pace;

  constructor(
    call: Call,
    pace: Pace,
    ...inner: ConstructorParameters<typeof ServerInterceptingCall>
  ) {
    super(...inner);
    this.#call = call;
    this.#pace = pace;
  }

  override startRead(): void {
    this.#pace.request(() => this.#call.onRead(() => super.startRead()));
  }
}

export function createInterceptor(context: CallContext): ServerInterceptor {
  return (method, inner) => {
    const call = new Call(context, method, inner);
    const responder: ConstructorParameters<typeof ServerInterceptingCall>[1] = {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            if (call.onHeaders(metadata)) pass(metadata);
          },
          onReceiveMessage: (message, pass) => {
            call.onMessage(message);
            pass(message);
          },
          onReceiveHalfClose: (pass) => call.onHalfClose(pass),
          onCancel: () => call.onCancel(),
        }),
    };
    return call.pace === null
      ? new ServerInterceptingCall(inner, responder)
      : new PacedCall(call, call.pace, inner, responder);
  };
}
