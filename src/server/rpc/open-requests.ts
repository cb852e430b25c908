/**
 * Calls without an image whose callers have not ended their side: questions that are not complete,
 * and reflection, which is asked over one open call. Nobody works for them, so when the server
 * stops they are ended, and no caller can hold it up by keeping one open. Calls with images are not
 * among them: what was let in may be sent, for `upload-timeout`.
 */
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { RequestError } from '../../errors.js';
import { kindOf } from './door.js';
import { toCallStatus } from './status.js';

export class OpenRequests {
  readonly #open = new Set<ServerInterceptingCall>();

  /** The same interceptor, its calls known here. */
  watch(inner: ServerInterceptor): ServerInterceptor {
    return (method, call) => {
      const admitted = inner(method, call);
      if (kindOf(method.path) !== 'other') return admitted;
      const watched: ServerInterceptingCall = new ServerInterceptingCall(admitted, {
        start: (next) =>
          next({
            onReceiveMetadata: (metadata, pass) => {
              this.#open.add(watched);
              pass(metadata);
            },
            onReceiveHalfClose: (pass) => {
              this.#open.delete(watched);
              pass();
            },
            onCancel: () => this.#open.delete(watched),
          }),
      });
      return watched;
    };
  }

  /** Ends them with DRAINING. */
  end(): void {
    const error = new RequestError('DRAINING', 'the server is stopping: call another one');
    for (const call of this.#open) call.sendStatus(toCallStatus(error));
    this.#open.clear();
  }
}
