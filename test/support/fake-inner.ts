/** As much of the innermost call of grpc-js as a `Call` looks at. */
import { EventEmitter } from 'node:events';
import { status as grpcStatus, type Metadata } from '@grpc/grpc-js';
import type { Call } from '#vitserve/server/rpc/call.js';

export const MAX_IMAGE_BYTES = 1_000_000;

export class FakeInner {
  readonly session = {};
  readonly stream = Object.assign(new EventEmitter(), {
    session: this.session,
    paused: false,
    pause: () => {
      this.stream.paused = true;
    },
    resume: () => {
      this.stream.paused = false;
    },
  });
  readonly decoder = { maxReadMessageLength: MAX_IMAGE_BYTES };
  maxReceiveMessageSize = MAX_IMAGE_BYTES;
  /** Names of the statuses that were sent. */
  readonly statuses: string[] = [];
  readonly #deadline: number;

  /** @param leftMs milliseconds to the deadline */
  constructor(leftMs = Number.POSITIVE_INFINITY) {
    this.#deadline = Date.now() + leftMs;
  }

  getDeadline(): number {
    return this.#deadline;
  }

  sendMessage(): void {}

  sendStatus({ code }: { readonly code: grpcStatus; readonly metadata?: Metadata }): void {
    this.statuses.push(grpcStatus[code]);
  }

  /** As the constructor of a call wants it. */
  get asInner(): ConstructorParameters<typeof Call>[2] {
    return this as unknown as ConstructorParameters<typeof Call>[2];
  }
}
