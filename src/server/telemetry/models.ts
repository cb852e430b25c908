/** Metrics and log lines of served models and of models that failed to load. */
import type { ServedModelEvent, ServerEvent } from './events.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';

export type ModelEvent = Extract<ServerEvent, { kind: `model-${string}` }>;

export class ModelTelemetry {
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #served = new Set<string>();
  /** Models of which a version failed to load. Their counter outlives the model. */
  readonly #failed = new Set<string>();

  constructor(metrics: Metrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
  }

  report(event: ModelEvent): void {
    const { modelInfo, modelFailures, providerFallback } = this.#metrics;
    switch (event.kind) {
      case 'model-served':
        this.#onServed(event.model, event.processes);
        return;
      case 'model-withdrawn':
        this.#served.delete(event.model.name);
        modelInfo.remove(labelsOf(event.model));
        providerFallback.remove({ model: event.model.name });
        return;
      case 'model-retired': {
        const { name, version } = event.model;
        if (!this.#served.has(name)) this.#forget(name);
        this.#log.info({ model: `${name}/${version}` }, 'model retired');
        return;
      }
      case 'model-failed': {
        const { name, version, problems } = event;
        this.#failed.add(name);
        modelFailures.inc({ model: name });
        // Its smoke test has left metrics under a name that is not served.
        if (!this.#served.has(name)) this.#forget(name);
        this.#log.error(
          { model: name, version, problems },
          'model not loaded: serving what was served before',
        );
      }
    }
  }

  #onServed(model: ServedModelEvent, processes: number): void {
    const { modelInfo, modelFailures, providerFallback } = this.#metrics;
    const { name, version, executionProvider, fallbackReason, slowForm, maxBatchSize } = model;
    const id = `${name}/${version}`;
    this.#served.add(name);
    modelInfo.set(labelsOf(model), 1);
    // For Prometheus, a counter that appears with its first failure has not increased.
    modelFailures.inc({ model: name }, 0);
    providerFallback.set({ model: name }, fallbackReason === null ? 0 : 1);
    if (fallbackReason !== null) {
      this.#log.warn(
        { model: name, reason: fallbackReason },
        'CUDA is not available: running on the CPU',
      );
    }
    if (slowForm !== null)
      this.#log.warn({ model: id, ...slowForm }, 'this form of the model is slow here');
    this.#log.info({ model: id, executionProvider, processes, maxBatchSize }, 'model served');
  }

  #forget(name: string): void {
    const { batchSize, inferenceDuration, modelFailures } = this.#metrics;
    batchSize.remove({ model: name });
    inferenceDuration.remove({ model: name });
    if (!this.#failed.has(name)) modelFailures.remove({ model: name });
  }
}

function labelsOf({ name, version, executionProvider }: ServedModelEvent) {
  return { model: name, version, execution_provider: executionProvider };
}
