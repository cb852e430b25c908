/**
 * The load generator watching itself: a figure is the server's only as long as it is not the
 * generator's own limit. Of the whole process, so one measurement at a time.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';

export interface GeneratorFigures {
  /** CPU time of all its threads. */
  readonly cpuMs: number;
  /** Share of the time in which its event loop had something to do; near 1 it is the limit. */
  readonly busyShare: number;
  /** How late its event loop came to what was due. */
  readonly eventLoopDelayMs: { readonly p99: number; readonly max: number };
}

const RESOLUTION_MS = 5;

/** Watches from `begin`, or from now; `end` gives the figures and may be called again. */
export function watchGenerator(): { begin(): void; end(): GeneratorFigures } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let cpu = process.cpuUsage();
  let loop = performance.eventLoopUtilization();
  let figures: GeneratorFigures | null = null;
  delay.enable();
  // Its samples are the time from one look to the next, so a loop that is never late shows the
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
