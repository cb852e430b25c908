/**
 * What is to run a model: a provider of onnxruntime, or a stand-in that takes as long as a table
 * says (`simulated-session.ts`).
 */
import type { ProviderChoice } from './onnx-session.js';
import type { Cost } from './simulated-session.js';

export type ProviderSetting =
  | { readonly kind: ProviderChoice }
  | { readonly kind: 'simulated'; readonly costs: readonly Cost[] };
