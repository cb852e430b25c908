/**
 * The server's own first calls, over gRPC like all others, so that no caller waits for code that
 * runs for the first time.
 */
import { credentials, Metadata } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import { loadContract } from '../../contract/contract.js';
import { WARM_UP_KEY } from './call.js';

/** This many calls, or as many as a slow model answers in CALLS_MS. */
const CALLS = 32;
const CALLS_MS = 500;
const CALLERS = 4;

/**
 * Rejects with the error of the first call that fails.
 *
 * @param port plaintext, on this machine
 * @param permits images that may be in progress at a time
 */
export async function warmUpCalls(options: {
  readonly port: number;
  readonly token: string;
  readonly image: Buffer;
  readonly permits: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
}): Promise<void> {
  const { port, token, image, permits, timeoutMs, clock } = options;
  const { ClassificationService } = loadContract().contract.vitserve.v1;
  const client = new ClassificationService(`127.0.0.1:${port}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set(WARM_UP_KEY, token);
  const callOnce = () =>
    new Promise<void>((resolve, reject) => {
      client.classify({ image }, metadata, { deadline: Date.now() + timeoutMs }, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  let left = Math.min(CALLS, CALLERS * permits);
  const until = clock.now() + CALLS_MS;
  const caller = async () => {
    while (left-- > 0 && clock.now() < until) await callOnce();
  };
  try {
    await Promise.all(Array.from({ length: Math.min(CALLERS, permits) }, caller));
  } finally {
    client.close();
  }
}
