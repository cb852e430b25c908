/**
 * grpc.health.v1, for load balancers and Kubernetes.
 *
 * The names are a closed set: `''` (the server as a whole), the service, and the service with `/`
 * and the name of a model. For another name Check returns NOT_FOUND and Watch answers
 * SERVICE_UNKNOWN and stays open; neither leaves anything behind. Watches are limited per
 * connection and in total, because they cost their callers nothing. `close` ends them, because an
 * open stream would keep the server from stopping. A proxy may send the Watch of every client over
 * one connection, so a connection may have half of its calls as Watches: the rest is left for
 * images.
 *
 * A Watch beyond the limits is UNIMPLEMENTED, the only status after which a client library calls
 * the server without watching it. After any other the library takes the server for unhealthy and
 * sends it no call. Such a client learns of a stop from the end of its connection.
 */
import {
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { SERVICE_NAME } from '../../contract/contract.js';
import type { HealthHandlers } from '../../contract/generated/grpc/health/v1/Health.js';
import type { HealthCheckRequest__Output } from '../../contract/generated/grpc/health/v1/HealthCheckRequest.js';
import type { HealthCheckResponse } from '../../contract/generated/grpc/health/v1/HealthCheckResponse.js';
import type { HealthListRequest__Output } from '../../contract/generated/grpc/health/v1/HealthListRequest.js';
import type { HealthListResponse } from '../../contract/generated/grpc/health/v1/HealthListResponse.js';
import { MOST_CALLS_OF_A_CONNECTION } from './grpc-server.js';

type WatchCall = ServerWritableStream<HealthCheckRequest__Output, HealthCheckResponse>;

/** Whether each name serves. */
export type Statuses = ReadonlyMap<string, boolean>;

export const MOST_WATCHES_OF_A_CONNECTION = MOST_CALLS_OF_A_CONNECTION / 2;
export const MOST_WATCHES = 2048;

export class Health {
  /** Open Watches, those of unknown names included. */
  readonly #watches = new Set<WatchCall>();
  readonly #watchesByPeer = new Map<string, number>();
  #statuses: Statuses = new Map([
    ['', false],
    [SERVICE_NAME, false],
  ]);
  #closed = false;

  /** Sets the statuses, and sends them to every Watch on a name whose status has changed. */
  show(statuses: Statuses): void {
    const before = this.#statuses;
    this.#statuses = statuses;
    for (const watch of this.#watches) {
      const { service } = watch.request;
      if (before.get(service) !== statuses.get(service)) watch.write(this.#watched(service));
    }
  }

  /** Ends every Watch. Later ones get the status and end. */
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
      else
        reply({
          code: status.NOT_FOUND,
          details: `unknown service: ask for ${SERVICE_NAME}`,
        });
    },
    Watch: (call: WatchCall) => {
      const peer = call.getPeer();
      const ofPeer = this.#watchesByPeer.get(peer) ?? 0;
      if (this.#watches.size >= MOST_WATCHES || ofPeer >= MOST_WATCHES_OF_A_CONNECTION) {
        const inAll = this.#watches.size;
        const open = `${ofPeer} Watch calls of this connection and ${inAll} in all are open`;
        call.emit('error', {
          code: status.UNIMPLEMENTED,
          details: `${open}: use Check instead`,
        });
        return;
      }
      call.write(this.#watched(call.request.service));
      if (this.#closed) {
        call.end();
        return;
      }
      this.#watches.add(call);
      this.#watchesByPeer.set(peer, ofPeer + 1);
      call.on('cancelled', () => {
        this.#watches.delete(call);
        const left = (this.#watchesByPeer.get(peer) ?? 1) - 1;
        if (left > 0) this.#watchesByPeer.set(peer, left);
        else this.#watchesByPeer.delete(peer);
      });
    },
    List: (
      _call: ServerUnaryCall<HealthListRequest__Output, HealthListResponse>,
      reply: sendUnaryData<HealthListResponse>,
    ) => {
      const statuses = [...this.#statuses].map(
        ([name, serving]) => [name, toResponse(serving)] as const,
      );
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
