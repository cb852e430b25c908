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
      summary: 'Deadline of each call. What is answered OK later than this is no goodput.',
      reason:
        'Take the one that your callers will use: it travels with the call, so the server drops or refuses what it can not ' +
        'answer in time, and goodput counts what was answered OK within it.',
    },
    callers: {
      name: 'callers',
      group: 'Load',
      type: integers(1, 4096),
      default: null,
      defaultText: '1,8,32, or none with --rate',
      summary:
        'Closed loop: so many callers, each sending its next image when it has the last answer.',
      reason:
        'One measurement for each number. One caller shows the latency of a server that has nothing else to do, many its ' +
        'throughput. A closed loop never overloads a server, since it waits for it: for that, and for latencies as a crowd of ' +
        'callers sees them, give a rate.',
    },
    rate: {
      name: 'rate',
      group: 'Load',
      type: integers(1, 1_000_000),
      default: null,
      summary:
        'Open loop: so many calls a second on average, at random times that do not depend on the answers.',
      reason:
        'One measurement for each rate, after those of `callers`. Latency counts from when a call was due, whether or not it ' +
        'could be sent then.',
    },
    durationMs: {
      name: 'duration',
      group: 'Load',
      type: duration(),
      default: 10_000,
      summary: 'Time of each measurement, after its warm-up.',
      reason:
        'A p99 needs some hundred calls and a p99.9 some thousand; slow models and low rates need longer than the default.',
    },
    warmUpMs: {
      name: 'warm-up',
      group: 'Load',
      type: duration(0),
      default: 2_000,
      summary: 'Time before each measurement under the same load, which is not counted.',
      reason:
        'Connections, JIT compilers and queues take a moment to become what they will be. 0s counts from the first call.',
    },
    connections: {
      name: 'connections',
      group: 'Load',
      type: integer(1, 256),
      default: 1,
      summary: 'Connections to the server, used in turns.',
      reason:
        'One HTTP/2 connection carries many calls, and may become the limit with large images or over a long way. A proxy ' +
        'that spreads connections over servers needs several to spread.',
    },
    seed: {
      name: 'seed',
      group: 'Load',
      type: integer(0, 4_294_967_295),
      default: 0,
      summary: 'Which random times a rate makes: the same seed makes the same.',
      reason:
        'Runs that are to be compared should be asked the same at the same times. Another seed shows how far chance goes.',
    },
    json: {
      ...json,
      summary: 'Print one JSON object with all figures instead of a table.',
      reason:
        'For programs that keep or compare figures. The table is for people and may change between versions.',
    },
  };
}
