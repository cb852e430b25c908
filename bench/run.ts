/**
 * Runs a benchmark, or lists them all.
 *
 *   npm run bench -- [NAME [options]]
 */
import { readdirSync } from 'node:fs';
import { type Bench, usageOf } from './lib/bench.js';
import { machineLine } from './lib/machine.js';

async function load(folder: string): Promise<[name: string, bench: Bench][]> {
  const files = readdirSync(new URL(folder, import.meta.url))
    .filter((file) => file.endsWith('.js') && file !== 'run.js')
    .sort();
  return await Promise.all(
    files.map(async (file): Promise<[string, Bench]> => {
      const { default: bench } = await import(new URL(`${folder}${file}`, import.meta.url).href);
      return [file.replace('.js', ''), bench];
    }),
  );
}

const groups: [title: string, Map<string, Bench>][] = [
  ['Measured', new Map(await load('./'))],
  ['Simulated', new Map(await load('./simulations/'))],
];
const [name = '', ...argv] = process.argv.slice(2);
const chosen = groups.map(([, benches]) => benches.get(name)).find((bench) => bench !== undefined);
if (chosen === undefined) {
  const width = Math.max(
    ...groups.flatMap(([, benches]) => [...benches.keys()]).map((n) => n.length),
  );
  const out = name === '' ? console.log : console.error;
  if (name !== '') out(`there is no benchmark ${name}\n`);
  out('npm run bench -- NAME [options]; --help shows the options of one');
  for (const [title, benches] of groups) {
    out(`\n${title}:`);
    for (const [each, { about }] of benches) out(`  ${each.padEnd(width)}  ${about}`);
  }
  process.exitCode = name === '' ? 0 : 2;
} else if (argv.includes('--help')) {
  console.log(usageOf(name, chosen));
} else {
  console.log(`${machineLine()}\n`);
  await chosen.run(argv);
}
