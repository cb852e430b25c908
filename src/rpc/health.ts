/**
 * grpc.health.v1: what the load balancer and Kubernetes ask.
 *
 * The names are a closed set: `''` (the server as a whole), the service, and the service with `/` and the name of a model.
 * Check on another name is NOT_FOUND, Watch answers SERVICE_UNKNOWN and stays open, and neither leaves anything behind.
 * Watches are ended by `close`, for an open stream would keep the server from stopping.
 */
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import { SERVICE_NAME } from '../contract/contract.js';
import type { HealthHandlers } from '../contract/generated/grpc/health/v1/Health.js';
import type { HealthCheckRequest__Output } from '../contract/generated/grpc/health/v1/HealthCheckRequest.js';
import type { HealthCheckResponse } from '../contract/generated/grpc/health/v1/HealthCheckResponse.js';
import type { HealthListRequest__Output } from '../contract/generated/grpc/health/v1/HealthListRequest.js';
import type { HealthListResponse } from '../contract/generated/grpc/health/v1/HealthListResponse.js';

type WatchCall = ServerWritableStream<HealthCheckRequest__Output, HealthCheckResponse>;

/** Whether each name serves. */
export type Statuses = ReadonlyMap<string, boolean>;

export class Health {
  /** Open ones, of unknown names too. */
  readonly #watches = new Set<WatchCall>();
  #statuses: Statuses = new Map([
    ['', false],
    [SERVICE_NAME, false],
  ]);
  #closed = false;

  /** What is told from now on; every Watch on a name whose status has changed is told at once. */
  show(statuses: Statuses): void {
    const before = this.#statuses;
    this.#statuses = statuses;
    for (const watch of this.#watches) {
      const { service } = watch.request;
      if (before.get(service) !== statuses.get(service)) watch.write(this.#watched(service));
    }
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
      const serving = this.#statuses.get(call.request.service);
      if (serving !== undefined) reply(null, toResponse(serving));
      else reply({ code: status.NOT_FOUND, details: `no such service: this server has ${SERVICE_NAME}` });
    },
    Watch: (call: WatchCall) => {
      call.write(this.#watched(call.request.service));
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
      const statuses = [...this.#statuses].map(([name, serving]) => [name, toResponse(serving)] as const);
      reply(null, { statuses: Object.fromEntries(statuses) });
    },
  };

  #watched(service: string): HealthCheckResponse {
    const serving = this.#statuses.get(service);
    return serving === undefined ? { status: 'SERVICE_UNKNOWN' } : toResponse(serving);
  }
}

function toResponse(serving: boolean): HealthCheckResponse {
  return { status: serving ? 'SERVING' : 'NOT_SERVING' };
}
