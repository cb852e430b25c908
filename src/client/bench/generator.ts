/**
 * The load generator measures itself: a figure is the server's only while the generator is not the
 * limit. It measures the whole process, so one measurement at a time.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';

export interface GeneratorFigures {
  /** CPU time of all its threads. */
  readonly cpuMs: number;
  /** Share of the time in which its event loop was busy; near 1 the generator is the limit. */
  readonly busyShare: number;
  /** How late its event loop handled what was due. */
  readonly eventLoopDelayMs: { readonly p99: number; readonly max: number };
}

const RESOLUTION_MS = 5;

/** Measures from `begin`, or from now; `end` returns the figures and may be called again. */
export function watchGenerator(): { begin(): void; end(): GeneratorFigures } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let cpu = process.cpuUsage();
  let loop = performance.eventLoopUtilization();
  let figures: GeneratorFigures | null = null;
  delay.enable();
  // A sample is the time from one look to the next, so a loop that is never late shows the
  // resolution.
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  return {
    begin() {
      delay.reset();
      cpu = process.cpuUsage();
      loop = performance.eventLoopUtilization();
    },
    end() {
      if (figures === null) {
        const { user, system } = process.cpuUsage(cpu);
        delay.disable();
        figures = {
          cpuMs: (user + system) / 1000,
          busyShare: performance.eventLoopUtilization(loop).utilization,
          eventLoopDelayMs: { p99: late(delay.percentile(99)), max: late(delay.max) },
        };
      }
      return figures;
    },
  };
}
