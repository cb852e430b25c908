// Writes every generated file of the project; with --check writes nothing and exits 1 when a
// committed file differs. Run through `npm run generate`, which builds first: the option table is
// read from dist/.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderChartSchema } from './chart-schema.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const check = process.argv.includes('--check');
const stale = [];

function put(path, text) {
  const target = join(root, path);
  let committed = null;
  try {
    committed = readFileSync(target, 'utf8');
  } catch {}
  if (committed === text) return;
  stale.push(path);
  if (check) return;
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

// The contract's types, with the loader options of src/contract/contract.ts.
const { PROTO_FILES } = await import('../dist/contract/contract.js').catch(() => ({
  PROTO_FILES: [
    'vitserve/v1/classification.proto',
    'google/rpc/error_details.proto',
    'grpc/health/v1/health.proto',
  ],
}));
const generated = 'src/contract/generated';
const scratch = mkdtempSync(join(tmpdir(), 'vitserve-generate-'));
try {
  const flags = [
    '--longs=Number',
    '--enums=String',
    '--defaults',
    '--oneofs',
    '--grpcLib=@grpc/grpc-js',
  ];
  const layout = ['--importFileExtension=.js', '--includeDirs=proto', `--outDir=${scratch}`];
  const generator = join(root, 'node_modules/.bin/proto-loader-gen-types');
  // Run at the root, because the paths of the protos as the generator is given them stand in what
  // it writes.
  const options = { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] };
  execFileSync(generator, [...flags, ...layout, ...PROTO_FILES], options);
  const written = filesUnder(scratch);
  for (const file of written) put(join(generated, file), readFileSync(join(scratch, file), 'utf8'));
  for (const file of filesUnder(join(root, generated))) {
    if (written.includes(file)) continue;
    stale.push(join(generated, file));
    if (!check) rmSync(join(root, generated, file));
  }
} finally {
  rmSync(scratch, { recursive: true });
}

// The reference of settings, from the option table.
const { renderConfigurationDoc } = await import('../dist/cli/document.js');
put('docs/reference/options.md', renderConfigurationDoc());

// The reference of the API, from the comments of the contract.
const { renderApiDoc } = await import('./api-doc.mjs');
put('docs/reference/api.md', renderApiDoc());

// The Grafana dashboard, from its rows.
const { renderDashboard } = await import('./monitoring/dashboard.mjs');
put('helm/vitserve/dashboards/vitserve.json', renderDashboard());

// What the chart accepts: its own values, and the option table under `config`.
const { COMMANDS } = await import('../dist/cli/commands.js');
const { settingsSchema } = await import('../dist/cli/json-schema.js');
put('helm/vitserve/values.schema.json', renderChartSchema(settingsSchema(COMMANDS.serve.options)));

// What is installed and under which licences, from the lockfile.
const { renderLicences } = await import('./licences.mjs');
put('docs/internals/licences.md', renderLicences());

// The resampler's WebAssembly, from its AssemblyScript.
const wasm = [join(root, 'tools/generate-wasm.mjs'), ...(check ? ['--check'] : [])];
try {
  execFileSync(process.execPath, wasm, { stdio: 'inherit' });
} catch {
  stale.push('src/workers/decode/resample-wasm.generated.ts');
}

if (check && stale.length > 0) {
  console.error(`generated files are out of date, run "npm run generate": ${stale.join(', ')}`);
  process.exitCode = 1;
} else if (!check)
  console.log(stale.length === 0 ? 'generated files are up to date' : `wrote ${stale.join(', ')}`);
