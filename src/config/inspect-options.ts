/** The option table of `vitserve inspect`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import { boolean } from './value-types.js';

export interface InspectSettings {
  readonly json: boolean;
  readonly providers: boolean;
}

export const INSPECT_OPTIONS: OptionTable<InspectSettings> = {
  json: {
    name: 'json',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print one JSON object instead of text for people.',
    reason:
      'For scripts, such as a check in a pipeline that a model has the size and the provenance that it should have.',
  },
  providers: {
    name: 'providers',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Also try each execution provider of this machine, and tell which one runs each node.',
    reason:
      'Single nodes of a graph may run on the CPU although the graph runs on CUDA. This loads the graph and executes it once ' +
      'with each provider that onnxruntime has here, with its profiler on, so it takes as long as a start of the server.',
  },
};
