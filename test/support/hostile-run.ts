/**
 * Sends hostile files to a real server, several at a time, beside a caller with a good image whose
 * answer must not change, and checks the server's promises: an answer or INVALID_ARGUMENT with a
 * reason for images, in two seconds, no process lost, no permit kept, and the memory given back.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { CallFailure, outcomeOf, PlainClient } from './grpc-client.js';
import { jpeg, webp } from './images.js';
import { continuousLoad, underLoad } from './load.js';
import type { MutatedFile } from './mutations.js';
import { eventually, type Scope, type ServerProcess } from './server.js';

export const CALLERS = 4;
export const LONGEST_MS = 2_000;
export const MEMORY_ALLOWANCE_BYTES = 50 * 2 ** 20;
const REASONS = ['IMAGE_EMPTY', 'IMAGE_UNSUPPORTED', 'IMAGE_UNDECODABLE', 'IMAGE_TOO_LARGE'];
/** Files after which memory is stable: pools are full, code is compiled. */
const WARM_UP_FILES = 100;
const LARGE_PICTURES = 8;
const LARGE_SIDE = 1600;
const MEMORY_ROUNDS = 10;

export interface HostileReport {
  readonly files: number;
  readonly answered: number;
  /** By reason. */
  readonly refused: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  readonly slowest: string;
  /** Calls with the good image meanwhile, all of them answered as before. */
  readonly goodCalls: number;
  /** Front and decoders, from after the first files to the end. */
  readonly memoryGrowthBytes: number;
  /** Broken promises, with the name of the file. Empty if all is well. */
  readonly problems: readonly string[];
}

export async function sendHostile(
  scope: Scope,
  server: ServerProcess,
  files: readonly MutatedFile[],
): Promise<HostileReport> {
  const client = new PlainClient(scope, server.address);
  const [good, large] = await Promise.all([jpeg(1), webp(2, LARGE_SIDE, LARGE_SIDE)]);
  const { predictions: expected } = await client.classify({ image: good });
  const refused: Record<string, number> = {};
  const problems: string[] = [];
  let answered = 0;
  let slowestMs = 0;
  let slowest = '';

  const send = async ({ name, bytes }: MutatedFile) => {
    const begunAt = performance.now();
    const outcome = await outcomeOf(client.classify({ image: bytes }, { timeoutMs: 30_000 }));
    const tookMs = performance.now() - begunAt;
    if (tookMs > slowestMs) {
      slowestMs = tookMs;
      slowest = name;
    }
    if (tookMs > LONGEST_MS) problems.push(`${name}: took ${Math.round(tookMs)} ms`);
    if (!(outcome instanceof CallFailure)) answered++;
    else if (outcome.code === 'INVALID_ARGUMENT' && REASONS.includes(outcome.reason ?? '')) {
      refused[outcome.reason ?? ''] = (refused[outcome.reason ?? ''] ?? 0) + 1;
    } else problems.push(`${name}: ${outcome.code} ${outcome.reason}: ${outcome.message}`);
  };

  // The garbage collector frees a picture's memory; some large pictures in a row make it do so.
  const memoryAtRest = async () => {
    for (let round = 0; round < LARGE_PICTURES; round++) await client.classify({ image: large });
    return memoryOf(server);
  };
  const others = continuousLoad(1, async () => {
    const outcome = await outcomeOf(client.classify({ image: good }));
    if (outcome instanceof CallFailure)
      problems.push(`a good image: ${outcome.code} ${outcome.reason}`);
    else if (JSON.stringify(outcome.predictions) !== JSON.stringify(expected))
      problems.push('a good image: other answer');
  });
  await underLoad(CALLERS, Math.min(WARM_UP_FILES, files.length), (at) =>
    send(files[at] as MutatedFile),
  );
  const bytesBefore = await memoryAtRest();
  await underLoad(CALLERS, Math.max(0, files.length - WARM_UP_FILES), (at) =>
    send(files[WARM_UP_FILES + at] as MutatedFile),
  );
  const goodCalls = (await others.stop()).length;
  let memoryGrowthBytes = Number.POSITIVE_INFINITY;
  for (
    let round = 0;
    round < MEMORY_ROUNDS && memoryGrowthBytes > MEMORY_ALLOWANCE_BYTES;
    round++
  ) {
    memoryGrowthBytes = (await memoryAtRest()) - bytesBefore;
  }
  if (memoryGrowthBytes > MEMORY_ALLOWANCE_BYTES)
    problems.push(`memory has grown by ${memoryGrowthBytes} bytes`);
  const losses = await server.metric('vitserve_process_losses_total');
  if (losses > 0) problems.push(`${losses} processes were lost`);
  await eventually(
    'permits are given back',
    async () => (await server.metric('vitserve_permits_in_use')) === 0,
  );
  return {
    files: files.length,
    answered,
    refused,
    slowestMs,
    slowest,
    goodCalls,
    memoryGrowthBytes,
    problems,
  };
}

/** Resident bytes of the front and its decoders. */
function memoryOf(server: ServerProcess): number {
  const pids = [server.pid, ...server.children('decoder').map(({ pid }) => pid)];
  return pids.reduce((sum, pid) => {
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    assert(resident, `memory of ${pid}`);
    return sum + Number(resident[1]) * 1024;
  }, 0);
}

/** One line for people. */
export function describeReport({ files, answered, refused, ...more }: HostileReport): string {
  const reasons = Object.entries(refused).map(([reason, count]) => `${reason} ${count}`);
  const memory = (more.memoryGrowthBytes / 2 ** 20).toFixed(1);
  return (
    `${files} files: ${answered} answered, ${reasons.join(', ')}; the slowest took ${Math.round(more.slowestMs)} ms ` +
    `(${more.slowest}); ${more.goodCalls} good calls meanwhile; memory ${memory} MiB more; ` +
    `${more.problems.length} problems`
  );
}
