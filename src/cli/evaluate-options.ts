/** The option table of `vitserve evaluate`, and the settings that it makes. */

import type { OptionTable } from './option.js';
import { boolean, path } from './value-types.js';

export interface EvaluateSettings {
  /** Absolute path of another model folder, or null. */
  readonly against: string | null;
  readonly allClasses: boolean;
  readonly json: boolean;
}

export const EVALUATE_OPTIONS: OptionTable<EvaluateSettings> = {
  against: {
    name: 'against',
    group: 'Source',
    type: path(),
    default: null,
    defaultText: 'no second model',
    summary: 'Folder of a model to compare with, image by image.',
  },
  allClasses: {
    name: 'all-classes',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print every class; otherwise of more than 30 classes the 20 worst.',
  },
  json: {
    name: 'json',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print one JSON object with all figures.',
  },
};
