/** Metrics and log lines of child processes: their life, CPU time and memory. */
import { stripVTControlCharacters } from 'node:util';
import type { ChildEvent, ChildRole } from '../../workers/process/supervised-child.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { readProcessUsage } from './process-usage.js';

export class ChildTelemetry {
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #pids = new Map<string, { role: ChildRole; index: number; pid: number }>();

  constructor(metrics: Metrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
  }

  report(event: ChildEvent): void {
    const { processReady, processLosses } = this.#metrics;
    const { role, index } = event;
    switch (event.kind) {
      case 'child-ready': {
        const { pid, startMs } = event;
        this.#pids.set(`${role} ${index}`, { role, index, pid });
        processReady.set({ role, index }, 1);
        this.#log.info({ role, index, pid, startMs: Math.round(startMs) }, 'process ready');
        return;
      }
      case 'child-killed':
        processReady.set({ role, index }, 0);
        return;
      case 'child-lost': {
        const { pid, cause, detail } = event;
        this.#forget(role, index);
        processReady.set({ role, index }, 0);
        processLosses.inc({ role, cause });
        this.#log.warn({ role, index, pid, cause, detail }, 'process lost');
        return;
      }
      case 'child-stopped':
        this.#forget(role, index);
        processReady.remove({ role, index });
        return;
      case 'child-line': {
        const line = stripVTControlCharacters(event.line).slice(0, 1000);
        if (line !== '') this.#log.warn({ role, index, line }, 'process output');
      }
    }
  }

  /** Reads the CPU time and memory of the running processes. */
  async readUsage(): Promise<void> {
    for (const { role, index, pid } of this.#pids.values()) {
      const usage = await readProcessUsage(pid);
      if (usage === null) continue;
      this.#metrics.processCpu.set({ role, index }, usage.cpuSeconds);
      this.#metrics.processMemory.set({ role, index }, usage.residentBytes);
    }
  }

  #forget(role: ChildRole, index: number): void {
    this.#pids.delete(`${role} ${index}`);
    this.#metrics.processCpu.remove({ role, index });
    this.#metrics.processMemory.remove({ role, index });
  }
}
