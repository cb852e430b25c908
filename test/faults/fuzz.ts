/**
 * The long run of `mutated-files.test.ts`: `npm run fuzz -- --count 10000 --seed 7 --format png`.
 * Default: all three formats, a thousand files each and the day's own seed. Exits with 1 if a file
 * breaks a promise, and names it; the same seed and count draw the same files.
 *
 * With `--time` the files are made to take long, and the promise is one of processor time: so much
 * for each byte and each pixel (`costly-run.ts`). `--keep FOLDER` writes the files that break it
 * there.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { COSTLY_FORMATS, describeCostlyReport, sendCostly } from '../support/costly-run.js';
import { describeReport, sendHostile } from '../support/hostile-run.js';
import { JPEG } from '../support/jpeg-mutations.js';
import { mutateFiles } from '../support/mutations.js';
import { PNG } from '../support/png-mutations.js';
import { ServerProcess, SIMULATED } from '../support/server.js';
import { WEBP } from '../support/webp-mutations.js';

const FORMATS = { jpeg: JPEG, png: PNG, webp: WEBP };
/** Files drawn at a time, each time with the next seed. */
const ROUND = 1_000;

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Math.floor(Date.now() / 86_400_000)) },
    format: { type: 'string', multiple: true, default: Object.keys(FORMATS) },
    time: { type: 'boolean', default: false },
    keep: { type: 'string' },
  },
});
const [count, seed] = [Number(values.count), Number(values.seed)];
const cleanings: (() => unknown)[] = [];
const scope = { after: (clean: () => unknown) => cleanings.push(clean) };
const say = (line: string) => process.stdout.write(`${line}\n`);

async function fuzzTime(): Promise<void> {
  for (const format of COSTLY_FORMATS.filter((name) => values.format.includes(name))) {
    for (let sent = 0, round = 0; sent < count; sent += ROUND, round++) {
      const report = await sendCostly(scope, format, {
        count: Math.min(ROUND, count - sent),
        seed: seed + round,
        onFile: (file, { name, cpuMs, allowedMs }) => {
          if (values.keep !== undefined && cpuMs > allowedMs) {
            writeFileSync(join(values.keep, `${name.replaceAll(/\W+/g, '-')}.${format}`), file);
          }
        },
      });
      say(`${format}, seed ${seed + round}: ${describeCostlyReport(report)}`);
      for (const problem of report.problems) say(`  ${problem}`);
      if (report.problems.length > 0) process.exitCode = 1;
    }
  }
}

async function fuzzAnswers(): Promise<void> {
  const server = await ServerProcess.start(scope, [...SIMULATED, '--permits', '16']);
  for (const [format, mutations] of Object.entries(FORMATS).filter(([name]) =>
    values.format.includes(name),
  )) {
    const bases = await mutations.draw();
    for (let sent = 0, round = 0; sent < count; sent += ROUND, round++) {
      const files = mutateFiles(bases, mutations, Math.min(ROUND, count - sent), seed + round);
      const report = await sendHostile(scope, server, files);
      say(`${format}, seed ${seed + round}: ${describeReport(report)}`);
      for (const problem of report.problems) say(`  ${problem}`);
      if (report.problems.length > 0) process.exitCode = 1;
    }
  }
}

try {
  await (values.time ? fuzzTime() : fuzzAnswers());
} finally {
  for (const clean of cleanings.toReversed()) await clean();
}
