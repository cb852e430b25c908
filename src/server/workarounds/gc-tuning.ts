/**
 * Makes V8 collect the front's garbage less often.
 *
 * V8 starts a full collection when old objects and the memory behind buffers approach a limit,
 * which it sets a few megabytes above the live memory. The front has few live objects (17 MB) and
 * much image traffic, so it collected after every forty photos and spent a third of its CPU time on
 * it (docs/performance.md). What it costs: some 50 MB of memory, up to GROWTH_PERCENT of the live
 * objects.
 *
 * - Fact: the V8 flag `--heap-growing-percent` (`flag-definitions.h` of V8) sets that limit; Node
 *   has no option for it.
 * - Seen with: Node.js 20.20 (V8 11.3).
 * - Fails when it breaks: no test; `npm run bench -- front` shows a higher CPU time of the front.
 * - Delete when: that bench measures the same without it.
 */
import { setFlagsFromString } from 'node:v8';

const GROWTH_PERCENT = 300;

/** For the process that receives images; children have other garbage. Call it first of all. */
export function collectLessOften(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
