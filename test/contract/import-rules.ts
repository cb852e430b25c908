/**
 * Which module of src/ may import which, and which may use which package.
 *
 * Works on text alone, so that it can be tried on sources that don't exist. Type imports count like
 * all others, except where a rule says otherwise.
 */
import { dirname, join } from 'node:path/posix';

const LEAVES = ['errors', 'clock', 'token-file', 'system'];
const WORKERS = ['workers', 'workers/process', 'workers/decode', 'workers/inference'];

/**
 * The modules of src/, and what each may import beside itself. A folder is one module, but for
 * `server/` and `workers/`, whose folders are modules of their own, and for the engine, which is
 * all that `server/rpc` knows of what lies behind it. So `server/` never reaches `tools/`, nor
 * `tools/` the server, nor `client/` either of them.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  clock: [],
  'token-file': ['errors'],
  system: ['errors'],
  contract: LEAVES,
  cli: LEAVES,
  models: LEAVES,
  onnx: [...LEAVES, 'models'],
  workers: LEAVES,
  'workers/process': [...LEAVES, 'workers'],
  'workers/decode': [...LEAVES, 'models', 'workers', 'workers/process'],
  'workers/inference': [...LEAVES, 'models', 'workers', 'workers/process'],
  tools: [...LEAVES, 'cli', 'models', 'onnx', ...WORKERS],
  client: [...LEAVES, 'cli', 'contract'],
  'server/telemetry': LEAVES,
  'server/scheduling': [...LEAVES, 'workers', 'server/telemetry'],
  'server/workarounds': LEAVES,
  'server/transport': [...LEAVES, 'server/telemetry', 'server/workarounds'],
  'server/admission': [...LEAVES, 'server/telemetry'],
  'server/models': [...LEAVES, 'models', 'server/scheduling', 'server/telemetry', ...WORKERS],
  'server/pipeline': [
    ...LEAVES,
    'server/admission',
    'server/models',
    'server/scheduling',
    'server/telemetry',
    ...WORKERS,
  ],
  'server/engine': [
    ...LEAVES,
    'models',
    'server/admission',
    'server/models',
    'server/pipeline',
    'server/scheduling',
    'server/telemetry',
    ...WORKERS,
  ],
  'server/rpc': [
    ...LEAVES,
    'contract',
    'server/admission',
    'server/engine',
    'server/telemetry',
    'server/transport',
    'server/workarounds',
  ],
  server: [
    ...LEAVES,
    'cli',
    'contract',
    'models',
    'workers/process',
    'server/engine',
    'server/rpc',
    'server/telemetry',
    'server/workarounds',
  ],
  main: [...LEAVES, 'cli', 'client', 'server', 'tools', 'workers/decode'],
};

export const MODULES: readonly string[] = Object.keys(MAY_IMPORT);

const ENGINE = 'server/engine.ts';
/** Addresses are written and read in one place. */
const ADDRESSES = 'cli/value-types.ts';

/** What a module may know of another by its types alone. */
const MAY_IMPORT_TYPES: Readonly<Record<string, readonly string[]>> = {
  'server/telemetry': ['cli', 'workers/process'],
  'server/rpc': ['server/models', 'server/pipeline', 'workers/inference'],
};

/** Node's own modules are everybody's. A package that is not listed is nobody's. */
const PACKAGE_MODULES: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': ['contract', 'server/rpc', 'server/transport', 'server/workarounds', 'client'],
  '@grpc/proto-loader': ['contract', 'server/rpc'],
  '@grpc/reflection': ['server/rpc'],
  protobufjs: ['server/rpc', 'onnx'],
  sharp: ['workers/decode'],
  'onnxruntime-node': ['workers/inference'],
  'prom-client': ['server/telemetry'],
  pino: ['server/telemetry'],
  'pino-pretty': ['server/telemetry'],
  '@opentelemetry/api': ['server/telemetry'],
  '@opentelemetry/core': ['server/telemetry'],
  '@opentelemetry/exporter-trace-otlp-proto': ['server/telemetry'],
  '@opentelemetry/resources': ['server/telemetry'],
  '@opentelemetry/sdk-trace': ['server/telemetry'],
  koffi: ['system', 'workers/process', 'workers/decode', 'workers/inference'],
  zod: ['models'],
};

const ENVIRONMENT_MODULES = ['main', 'cli'];

/**
 * The one file that loads onnxruntime, and that sets a variable of the environment before it does.
 */
const ONNXRUNTIME_FILE = 'workers/inference/onnxruntime.ts';

interface Import {
  readonly from: string;
  readonly typeOnly: boolean;
  /** Values, without types; `*` stands for all. */
  readonly names: readonly string[];
}

/** Comments go, strings stay. */
function withoutComments(source: string): string {
  const tokens =
    /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return source.replace(tokens, (token) => (token.startsWith('/') ? '' : token));
}

function importsOf(code: string): Import[] {
  const statements = /^\s*(?:import|export)\s+(type\s+)?(?:([^;'"]*?)\sfrom\s+)?['"]([^'"]+)['"]/gm;
  const dynamic = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [
    ...[...code.matchAll(statements)].map(([, type, clause = '*', from]) => ({
      from: from as string,
      typeOnly: type !== undefined,
      names: clause.replace(/\btype\s+\w+|\sas\s+\w+/g, '').match(/\w+|\*/g) ?? [],
    })),
    ...[...code.matchAll(dynamic)].map(([, from]) => ({
      from: from as string,
      typeOnly: false,
      names: ['*'],
    })),
  ];
}

/**
 * `onnx/vit/build.ts` is of the module `onnx`, `server/rpc/health.ts` of `server/rpc`, `errors.ts`
 * of `errors`.
 */
function moduleOf(path: string): string {
  const parts = path.split('/');
  const [first = '', second = ''] = parts;
  if (path === ENGINE) return 'server/engine';
  return (first === 'server' || first === 'workers') && parts.length > 2
    ? `${first}/${second}`
    : first.replace(/\.ts$/, '');
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

function importProblem(
  path: string,
  { from, typeOnly }: Import,
  known: ReadonlySet<string>,
): string | null {
  const module = moduleOf(path);
  if (from.startsWith('node:')) return null;
  if (!from.startsWith('.')) {
    const modules = PACKAGE_MODULES[packageOf(from)];
    if (modules === undefined) return `${path}: no module may use the package ${from}`;
    return modules.includes(module) ? null : `${path}: ${from} is for ${modules.join(' and ')}`;
  }
  const target = resolve(path, from);
  if (!known.has(target)) return `${path}: ${from} is no file of src/`;
  const targetModule = moduleOf(target);
  if (target === ADDRESSES) return null;
  if (targetModule === module || MAY_IMPORT[module]?.includes(targetModule)) return null;
  if (typeOnly && MAY_IMPORT_TYPES[module]?.includes(targetModule)) return null;
  return `${path}: ${module} must not import ${targetModule} (${from})`;
}

function resolve(path: string, specifier: string): string {
  return join(dirname(path), specifier).replace(/\.js$/, '.ts');
}

/**
 * Every breach of the rules. `sources`: text by path from src/, such as `workers/decode/sniff.ts`.
 */
export function importProblems(sources: ReadonlyMap<string, string>): string[] {
  const known = new Set(sources.keys());
  const problems: string[] = [];
  const graph = new Map<string, readonly string[]>();
  for (const [path, source] of sources) {
    const module = moduleOf(path);
    if (!(module in MAY_IMPORT)) problems.push(`${path}: the rules know no module ${module}`);
    const code = withoutComments(source);
    const imports = importsOf(code);
    problems.push(
      ...imports
        .map((one) => importProblem(path, one, known))
        .filter((problem) => problem !== null),
    );
    graph.set(
      path,
      imports.filter(({ from }) => from.startsWith('.')).map(({ from }) => resolve(path, from)),
    );
    const mayRead = ENVIRONMENT_MODULES.includes(module) || path === ONNXRUNTIME_FILE;
    if (/\bprocess\.env\b/.test(code) && !mayRead) problems.push(`${path}: reads process.env`);
    if (/\bconsole\s*\./.test(code)) problems.push(`${path}: uses console`);
  }
  return [...problems, ...cycles(graph)];
}

/** One line for each cycle that a walk along the imports comes upon. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) {
      found.push(`cycle: ${[...way.slice(way.indexOf(path)), path].join(' → ')}`);
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) walk(next, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return found;
}

/** What starts processes and opens sockets. */
const OUTWARD: ReadonlySet<string> = new Set([
  '@grpc/grpc-js',
  ...['child_process', 'cluster', 'dgram', 'http', 'http2', 'https', 'net', 'tls'].map(
    (name) => `node:${name}`,
  ),
  'node:worker_threads',
]);
/** What these packages have besides. */
const HARMLESS: ReadonlySet<string> = new Set(['isIPv4', 'Metadata', 'status']);

/**
 * Unit tests that import what starts a process or opens a socket, by themselves or by what they
 * import of test/. `sources`: text by path from test/.
 */
export function unitTestProblems(sources: ReadonlyMap<string, string>): string[] {
  const imports = new Map(
    [...sources].map(([path, text]) => [path, importsOf(withoutComments(text))]),
  );
  const reached = new Set<string>();
  const problems: string[] = [];
  const walk = (path: string, way: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { from, typeOnly, names } of imports.get(path) ?? []) {
      if (typeOnly) continue;
      if (OUTWARD.has(from) && names.some((name) => !HARMLESS.has(name)))
        problems.push(`${way}: imports ${from}`);
      const target = resolve(path, from);
      if (from.startsWith('.')) walk(target, `${way} → ${target}`);
    }
  };
  for (const path of sources.keys()) if (path.startsWith('unit/')) walk(path, path);
  return problems;
}

/**
 * `import … from 'onnxruntime-node'`, `import 'onnxruntime-node'`, and every call that is given
 * that name alone: require and the like.
 */
const LOADS_ONNXRUNTIME = /(?:\bfrom|\bimport|\()\s*['"]onnxruntime-node(?:\/dist[^'"]*)?['"]/;
const PYTHON_LOADS_ONNXRUNTIME = /^\s*(?:import|from) onnxruntime\b/m;
const PYTHON_TELEMETRY_OFF = /^os\.environ\["ORT_DISABLE_TELEMETRY"\] = "1"$/m;

/**
 * Every way to onnxruntime but the one that turns its telemetry off first. `sources`: text by path
 * from the root, of TypeScript, JavaScript and Python. A Python file has to turn it off itself,
 * before the import.
 */
export function onnxruntimeProblems(sources: ReadonlyMap<string, string>): string[] {
  const problems: string[] = [];
  for (const [path, source] of sources) {
    if (path.endsWith('.py')) {
      const loads = PYTHON_LOADS_ONNXRUNTIME.exec(source);
      const off = PYTHON_TELEMETRY_OFF.exec(source);
      if (loads !== null && (off === null || off.index > loads.index)) {
        problems.push(
          `${path}: loads onnxruntime before os.environ["ORT_DISABLE_TELEMETRY"] = "1"`,
        );
      }
    } else if (
      path !== `src/${ONNXRUNTIME_FILE}` &&
      LOADS_ONNXRUNTIME.test(withoutComments(source))
    ) {
      problems.push(`${path}: loads onnxruntime-node past src/${ONNXRUNTIME_FILE}`);
    }
  }
  return problems;
}
