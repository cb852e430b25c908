/**
 * What the manifest's `provenance.weights` says of a model that was made to be measured, and never
 * learned anything.
 */
export const RANDOM_WEIGHTS = 'random';
