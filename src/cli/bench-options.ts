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
    },
    callers: {
      name: 'callers',
      group: 'Load',
      type: integers(1, 4096),
      default: null,
      defaultText: '1,8,32, or none with --rate',
      summary: 'Closed loop: this many callers, each sending again after its last answer.',
    },
    rate: {
      name: 'rate',
      group: 'Load',
      type: integers(1, 1_000_000),
      default: null,
      summary: 'Open loop: this many calls per second, at random times independent of the answers.',
    },
    durationMs: {
      name: 'duration',
      group: 'Load',
      type: duration(),
      default: 10_000,
      summary: 'Length of each measurement, after its warm-up.',
    },
    warmUpMs: {
      name: 'warm-up',
      group: 'Load',
      type: duration(0),
      default: 2_000,
      summary: 'Time under load before each measurement, which is not counted.',
    },
    connections: {
      name: 'connections',
      group: 'Load',
      type: integer(1, 256),
      default: 1,
      summary: 'Connections to the server, used in turn.',
    },
    seed: {
      name: 'seed',
      group: 'Load',
      type: integer(0, 4_294_967_295),
      default: 0,
      summary: 'Seed for the random times of a rate.',
    },
    json: {
      ...json,
      summary: 'Print one JSON object with all figures.',
    },
  };
}
