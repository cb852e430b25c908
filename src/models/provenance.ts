/** The manifest's `provenance.weights` of a model for measurements, which is not trained. */
export const RANDOM_WEIGHTS = 'random';
