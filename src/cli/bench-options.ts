/** The option table of `vitserve bench`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import type { ClassifySettings } from './settings.js';
import { duration, integer, integers } from './value-types.js';

/** The part of `vitserve classify`'s settings that names the server and what to ask it. */
type Asked =
  | 'address'
  | 'tlsCa'
  | 'tlsCert'
  | 'tlsKey'
  | 'tokenFile'
  | 'model'
  | 'topK'
  | 'timeoutMs'
  | 'json';

export interface BenchSettings extends Pick<ClassifySettings, Asked> {
  /** null: a telling selection, unless there is a rate. */
  readonly callers: readonly number[] | null;
  /** Calls a second. */
  readonly rate: readonly number[] | null;
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly connections: number;
  readonly seed: number;
}

/** Server and model are given as for `vitserve classify`. */
export function benchOptions(classify: OptionTable<ClassifySettings>): OptionTable<BenchSettings> {
  const { address, tlsCa, tlsCert, tlsKey, tokenFile, model, topK, timeoutMs, json } = classify;
  return {
    address,
    tlsCa,
    tlsCert,
    tlsKey,
    tokenFile,
    model,
    topK,
    timeoutMs: {
      ...timeoutMs,
      default: 5_000,
      summary: 'Deadline of each call. Later answers do not count as goodput.',
      reason:
        'Use the deadline of your own callers: it travels with the call, so the server drops or ' +
        "rejects what it can't answer in time.",
    },
    callers: {
      name: 'callers',
      group: 'Load',
      type: integers(1, 4096),
      default: null,
      defaultText: '1,8,32, or none with --rate',
      summary: 'Closed loop: this many callers, each sending again after its last answer.',
      reason:
        'One measurement per number. One caller shows the latency of an idle server, many show ' +
        'its throughput. A closed loop never overloads a server, because it waits for it: for ' +
        'overload, and for the latency that a crowd sees, use `rate`.',
    },
    rate: {
      name: 'rate',
      group: 'Load',
      type: integers(1, 1_000_000),
      default: null,
      summary: 'Open loop: this many calls per second, at random times independent of the answers.',
      reason:
        'One measurement per rate, after those of `callers`. Latency counts from when a call was ' +
        'due, even if it was sent later.',
    },
    durationMs: {
      name: 'duration',
      group: 'Load',
      type: duration(),
      default: 10_000,
      summary: 'Length of each measurement, after its warm-up.',
      reason:
        'A p99 needs hundreds of calls and a p99.9 thousands; slow models and low rates need ' +
        'longer than the default.',
    },
    warmUpMs: {
      name: 'warm-up',
      group: 'Load',
      type: duration(0),
      default: 2_000,
      summary: 'Time under load before each measurement, which is not counted.',
      reason:
        'Connections, JIT compilers and queues need a moment to settle. 0s counts from the first ' +
        'call.',
    },
    connections: {
      name: 'connections',
      group: 'Load',
      type: integer(1, 256),
      default: 1,
      summary: 'Connections to the server, used in turn.',
      reason:
        'One HTTP/2 connection carries many calls, but may limit large images or long distances. ' +
        'A proxy that spreads connections over servers needs several.',
    },
    seed: {
      name: 'seed',
      group: 'Load',
      type: integer(0, 4_294_967_295),
      default: 0,
      summary: 'Seed for the random times of a rate.',
      reason:
        'The same seed makes the same times, so that runs can be compared. Another seed shows ' +
        'how far chance goes.',
    },
    json: {
      ...json,
      summary: 'Print one JSON object with all figures.',
      reason: 'For programs. The table is for people and may change between versions.',
    },
  };
}
