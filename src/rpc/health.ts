/**
 * grpc.health.v1: what the load balancer and Kubernetes ask.
 *
 * The names are a closed set: `''` (the server as a whole) and the service. Check on another name is NOT_FOUND, Watch
 * answers SERVICE_UNKNOWN and stays open, and neither leaves anything behind. Every Watch is ended by `close`, for an open
 * stream would keep the server from stopping.
 */
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import { SERVICE_NAME } from '../contract/contract.js';
import type { HealthHandlers } from '../contract/generated/grpc/health/v1/Health.js';
import type { HealthCheckRequest__Output } from '../contract/generated/grpc/health/v1/HealthCheckRequest.js';
import type { HealthCheckResponse } from '../contract/generated/grpc/health/v1/HealthCheckResponse.js';
import type { HealthListRequest__Output } from '../contract/generated/grpc/health/v1/HealthListRequest.js';
import type { HealthListResponse } from '../contract/generated/grpc/health/v1/HealthListResponse.js';

const NAMES: readonly string[] = ['', SERVICE_NAME];

function isKnown({ request }: { readonly request: HealthCheckRequest__Output }): boolean {
  return NAMES.includes(request.service);
}

type WatchCall = ServerWritableStream<HealthCheckRequest__Output, HealthCheckResponse>;

export class Health {
  /** Open ones, of unknown names too. */
  readonly #watches = new Set<WatchCall>();
  #serving = false;
  #closed = false;

  get serving(): boolean {
    return this.#serving;
  }

  set serving(serving: boolean) {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const watch of this.#watches) if (isKnown(watch)) watch.write(this.#status());
  }

  /** Ends every Watch; later ones are told the status and ended. */
  close(): void {
    this.#closed = true;
    for (const watch of this.#watches) watch.end();
    this.#watches.clear();
  }

  readonly handlers: HealthHandlers = {
    Check: (
      call: ServerUnaryCall<HealthCheckRequest__Output, HealthCheckResponse>,
      reply: sendUnaryData<HealthCheckResponse>,
    ) => {
      if (isKnown(call)) reply(null, this.#status());
      else reply({ code: status.NOT_FOUND, details: `no such service: this server has ${SERVICE_NAME}` });
    },
    Watch: (call: WatchCall) => {
      call.write(isKnown(call) ? this.#status() : { status: 'SERVICE_UNKNOWN' });
      if (this.#closed) {
        call.end();
        return;
      }
      this.#watches.add(call);
      call.on('cancelled', () => this.#watches.delete(call));
    },
    List: (
      _call: ServerUnaryCall<HealthListRequest__Output, HealthListResponse>,
      reply: sendUnaryData<HealthListResponse>,
    ) => {
      reply(null, { statuses: Object.fromEntries(NAMES.map((name) => [name, this.#status()])) });
    },
  };

  #status(): HealthCheckResponse {
    return { status: this.#serving ? 'SERVING' : 'NOT_SERVING' };
  }
}
