/**
 * Where what the rooms report becomes metrics and log lines, so that the rooms themselves hold
 * neither.
 */
import { stripVTControlCharacters } from 'node:util';
import type { ChildObserver, ChildRole } from '../../workers/process/supervised-child.js';
import type { Admission } from '../admission/admission.js';
import type { PermitObserver } from '../admission/permit-limit.js';
import type { CatalogObserver } from '../models/model-catalog.js';
import type { ModelLine, ModelLineObserver } from '../models/model-line.js';
import type { ServedModel } from '../models/served-model.js';
import type { PipelineObserver } from '../pipeline/pipeline.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { readProcessUsage } from './process-usage.js';

/**
 * What `rpc/` reports; shaped like its `ConnectionObserver`, which lies further down the line than
 * this room.
 */
export interface ConnectionObserver {
  connectionsOpen(count: number): void;
  connectionRefused(cause: string, peer: string, detail: string): void;
}

/** As above, its `CredentialObserver`. */
export interface CredentialObserver {
  credentialLoaded(kind: string, detail: Readonly<Record<string, string | number>>): void;
  credentialKept(kind: string, problems: readonly string[]): void;
}

/** As above, its `RejectionObserver`. */
export interface RejectionObserver {
  rejectionHeld(): void;
  rejectionsHeld(count: number): void;
}

export function createPipelineObserver(
  metrics: Metrics,
  log: Logger,
): PipelineObserver & ModelLineObserver {
  const quarantined = (stage: 'decode' | 'batch') => (sha256: string, bytes: number) => {
    metrics.quarantined.inc({ stage });
    log.warn({ stage, sha256, bytes }, 'quarantined image');
  };
  // Looked up once: finding a series by its labels costs more than counting.
  const decodeQueue = metrics.queueLength.labels({ stage: 'decode', model: '' });
  const { queueDuration, deadlineSlack } = metrics;
  return {
    decoded: (format, decoder, decodeMs) =>
      metrics.decodeDuration.observe({ format, decoder }, decodeMs / 1000),
    answered(queueMs, deadlineSlackMs) {
      queueDuration.observe(queueMs / 1000);
      if (deadlineSlackMs !== null) deadlineSlack.observe(deadlineSlackMs / 1000);
    },
    dropped: (stage, cause) => metrics.dropped.inc({ stage, cause }),
    decodeRetried: () => metrics.retries.inc({ stage: 'decode' }),
    decodeQueueLength: (length) => decodeQueue.set(length),
    decodeQuarantined: quarantined('decode'),
    executed(model, batchSize, executionMs) {
      metrics.batchSize.observe({ model }, batchSize);
      metrics.inferenceDuration.observe({ model }, executionMs / 1000);
    },
    batchRetried: () => metrics.retries.inc({ stage: 'batch' }),
    batchQueueLength: (model, length) => metrics.queueLength.set({ stage: 'batch', model }, length),
    batchQuarantined: quarantined('batch'),
  };
}

/**
 * Which models are served, and which could not be. `onChange` is called after either has been
 * noted.
 */
export function createCatalogObserver(
  metrics: Metrics,
  log: Logger,
  onChange: () => void,
): CatalogObserver {
  const infoOf = ({ name, version, executionProvider }: ServedModel) => ({
    model: name,
    version,
    execution_provider: executionProvider,
  });
  const current = new Map<string, ModelLine>();
  /** Names of which a version could not be loaded: that is remembered beyond the model. */
  const failed = new Set<string>();
  metrics.hooks.collectCosts = () => {
    metrics.batchCost.reset();
    for (const { model, costs } of current.values()) {
      for (const { batchSize, milliseconds } of costs) {
        const labels = { model: model.name, version: model.version, batch_size: batchSize };
        metrics.batchCost.set(labels, milliseconds / 1000);
      }
    }
  };
  const forget = (name: string) => {
    metrics.queueLength.remove({ stage: 'batch', model: name });
    metrics.batchSize.remove({ model: name });
    metrics.inferenceDuration.remove({ model: name });
    if (!failed.has(name)) metrics.modelFailures.remove({ model: name });
  };
  return {
    modelServed(line) {
      const { model, processes } = line;
      const { name, version, executionProvider, fallbackReason, slowForm, maxBatchSize } = model;
      current.set(name, line);
      metrics.modelInfo.set(infoOf(model), 1);
      // A counter that appears with its first failure has not increased, to Prometheus.
      metrics.modelFailures.inc({ model: name }, 0);
      metrics.providerFallback.set({ model: name }, fallbackReason === null ? 0 : 1);
      if (fallbackReason !== null) {
        log.warn(
          { model: name, reason: fallbackReason },
          'CUDA is not available: running on the CPU',
        );
      }
      if (slowForm !== null)
        log.warn(
          { model: `${name}/${version}`, ...slowForm },
          'this form of the model is slow here',
        );
      log.info(
        { model: `${name}/${version}`, executionProvider, processes, maxBatchSize },
        'model served',
      );
      onChange();
    },
    modelWithdrawn(model) {
      current.delete(model.name);
      metrics.modelInfo.remove(infoOf(model));
      metrics.providerFallback.remove({ model: model.name });
      onChange();
    },
    modelRetired({ name, version }) {
      if (!current.has(name)) forget(name);
      log.info({ model: `${name}/${version}` }, 'model retired');
    },
    modelFailed(name, version, problems) {
      failed.add(name);
      metrics.modelFailures.inc({ model: name });
      // Of a version that could be proved for a while, under a name that nobody is served.
      if (!current.has(name)) forget(name);
      log.error(
        { model: name, version, problems },
        'model not loaded: serving what was served before',
      );
    },
  };
}

/** Also reads the children's CPU time and memory whenever the metrics are collected. */
export function createChildObserver(metrics: Metrics, log: Logger): ChildObserver {
  const pids = new Map<string, { role: ChildRole; index: number; pid: number }>();
  metrics.hooks.beforeCollect = async () => {
    for (const { role, index, pid } of pids.values()) {
      const usage = await readProcessUsage(pid);
      if (usage === null) continue;
      metrics.processCpu.set({ role, index }, usage.cpuSeconds);
      metrics.processMemory.set({ role, index }, usage.residentBytes);
    }
  };
  return {
    childReady(role, index, pid, startMs) {
      pids.set(`${role} ${index}`, { role, index, pid });
      metrics.processReady.set({ role, index }, 1);
      log.info({ role, index, pid, startMs: Math.round(startMs) }, 'process ready');
    },
    childKilled: (role, index) => metrics.processReady.set({ role, index }, 0),
    childLost(role, index, pid, cause, detail) {
      pids.delete(`${role} ${index}`);
      metrics.processReady.set({ role, index }, 0);
      metrics.processCpu.remove({ role, index });
      metrics.processMemory.remove({ role, index });
      metrics.processLosses.inc({ role, cause });
      log.warn({ role, index, pid, cause, detail }, 'process lost');
    },
    childStopped(role, index) {
      pids.delete(`${role} ${index}`);
      metrics.processReady.remove({ role, index });
      metrics.processCpu.remove({ role, index });
      metrics.processMemory.remove({ role, index });
    },
    childLine(role, index, raw) {
      const line = stripVTControlCharacters(raw).slice(0, 1000);
      if (line !== '') log.warn({ role, index, line }, 'process output');
    },
  };
}

export function createRejectionObserver(metrics: Metrics): RejectionObserver {
  return {
    rejectionHeld: () => metrics.rejectionsHeldBack.inc(),
    rejectionsHeld: (count) => metrics.rejectionsHeld.set(count),
  };
}

/**
 * Counts connections; why one was refused is for the debug log, since anybody can make it grow.
 * Only of another protocol than the port's, which is a mistake in somebody's settings, each kind is
 * told aloud once.
 */
export function createConnectionObserver(metrics: Metrics, log: Logger): ConnectionObserver {
  const told = new Set<string>();
  return {
    connectionsOpen: (count) => metrics.connections.set(count),
    connectionRefused(cause, peer, detail) {
      metrics.connectionsRefused.inc({ cause });
      log.debug({ cause, peer, detail }, 'connection refused');
      if (cause !== 'protocol' || told.has(detail)) return;
      told.add(detail);
      log.warn({ peer, detail }, 'caller speaks another protocol');
    },
  };
}

/**
 * Which credentials are in use. What is wrong with new ones is counted on every look and logged
 * once.
 */
export function createCredentialObserver(metrics: Metrics, log: Logger): CredentialObserver {
  const lastProblems = new Map<string, string>();
  return {
    credentialLoaded(kind, { expiresAt, clientCaExpiresAt, ...about }) {
      lastProblems.delete(kind);
      metrics.credentialReloads.inc({ kind, result: 'loaded' });
      const expiry = { server: expiresAt, client_ca: clientCaExpiresAt };
      const shown: Record<string, string> = {};
      for (const [certificate, at] of Object.entries(expiry)) {
        if (typeof at !== 'number') continue;
        metrics.certificateExpiry.set({ certificate }, at / 1000);
        shown[certificate] = new Date(at).toISOString();
      }
      log.info(
        { kind, ...about, ...(kind === 'certificate' ? { expires: shown } : {}) },
        'credentials loaded',
      );
    },
    credentialKept(kind, problems) {
      metrics.credentialReloads.inc({ kind, result: 'kept' });
      const text = problems.join('\n');
      if (lastProblems.get(kind) === text) return;
      lastProblems.set(kind, text);
      log.warn({ kind, problems }, 'credentials not loaded: those before stay in use');
    },
  };
}

/** The gauge of the limit is `watchAdmission`'s. */
export function createPermitObserver(log: Logger): PermitObserver {
  return {
    permitsCorrected: (permits, imagesPerSecond) =>
      log.info({ permits, imagesPerSecond: Math.round(imagesPerSecond) }, 'permits corrected'),
    permitsShort: (permits, short) =>
      log.warn({ permits, short }, 'fewer permits than would be good'),
  };
}

/** Keeps the gauges of the door current. */
export function watchAdmission(metrics: Metrics, admission: Admission): void {
  const { permits } = admission;
  const show = () => {
    metrics.permitsLimit.set(permits.limit);
    metrics.permitsInUse.set(permits.inUse);
    metrics.uploads.set(admission.uploads);
  };
  permits.onChange = show;
  admission.onChange = show;
  show();
}
