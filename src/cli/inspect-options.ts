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
    summary: 'Print one JSON object.',
    reason: "For scripts, such as a check in a pipeline of a model's size or provenance.",
  },
  providers: {
    name: 'providers',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Also try each execution provider here and show which one runs each node.',
    reason:
      'Some nodes of a graph may run on the CPU although the graph runs on CUDA. This loads and ' +
      'executes the graph once per provider of onnxruntime, with the profiler on, so it takes as ' +
      'long as a start of the server.',
  },
  live: {
    name: 'live',
    group: 'Source',
    type: boolean(),
    default: false,
    summary: 'Ask a running server: models, batch costs, processes, load.',
    reason:
      'The server checks deadlines against batch costs, so this shows why it rejected a call ' +
      'with `DEADLINE_UNREACHABLE`, and from which batch size on nothing is gained.',
  },
  httpAddress: {
    ...httpAddress,
    group: 'Source',
    summary: 'HTTP address of the running server, for --live.',
    reason: 'The default is that of `vitserve serve`, and both commands read the same variable.',
  },
});
