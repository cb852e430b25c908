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
  },
  providers: {
    name: 'providers',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Also try each execution provider here and show which one runs each node.',
  },
  live: {
    name: 'live',
    group: 'Source',
    type: boolean(),
    default: false,
    summary: 'Ask a running server: models, batch costs, processes, load.',
  },
  httpAddress: {
    ...httpAddress,
    group: 'Source',
    summary: 'HTTP address of the running server, for --live.',
  },
});
