/** The option table of `vitserve inspect`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import type { ServeSettings } from './settings.js';
import { boolean } from './value-types.js';

export interface InspectSettings extends Pick<ServeSettings, 'httpAddress'> {
  readonly json: boolean;
  readonly providers: boolean;
  readonly live: boolean;
}

/** `httpAddress` is that of `vitserve serve`, so that both find each other by the same variable. */
export const inspectOptions = ({
  httpAddress,
}: Pick<OptionTable<ServeSettings>, 'httpAddress'>): OptionTable<InspectSettings> => ({
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
  live: {
    name: 'live',
    group: 'Source',
    type: boolean(),
    default: false,
    summary:
      'Tell what a running server does now instead of what a model is: models, what batches cost, processes, load.',
    reason:
      'Deadlines are checked against what batches cost, so this shows why a call was refused with `DEADLINE_UNREACHABLE`, and ' +
      'from which batch size on nothing is gained.',
  },
  httpAddress: {
    ...httpAddress,
    group: 'Source',
    summary: 'Where the HTTP port of the running server is, for --live.',
    reason: 'The default is that of `vitserve serve`, and both read the same variable.',
  },
});
