/**
 * Which room of src/ may import which, and which room may use which package.
 *
 * Works on text alone, so that it can be tried on sources that don't exist. Type imports count like all others, except
 * where a rule says otherwise.
 */
import { dirname, join } from 'node:path/posix';

const LEAVES = ['errors', 'system-errors', 'token-file', 'lifecycle', 'clock'];
const GROUND = ['config', 'contract', 'model', 'slots', 'process'];
const STAGES = ['decode', 'batch', 'inference'];

/** The rooms in the order of the line. A room imports from the rooms that it lists, and from itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(LEAVES.map((leaf) => [leaf, []])),
  'system-errors': ['errors'],
  'token-file': ['errors'],
  ...Object.fromEntries(GROUND.map((room) => [room, LEAVES])),
  onnx: [...LEAVES, 'model'],
  ...Object.fromEntries(STAGES.map((room) => [room, [...LEAVES, ...GROUND]])),
  pipeline: [...LEAVES, ...GROUND, ...STAGES],
  telemetry: LEAVES,
  rpc: [...LEAVES, ...GROUND, ...STAGES, 'pipeline', 'telemetry'],
  client: [...LEAVES, ...GROUND],
  bench: [...LEAVES, ...GROUND, 'client'],
  service: [...LEAVES, ...GROUND, ...STAGES, 'pipeline', 'telemetry', 'rpc'],
  commands: [...LEAVES, ...GROUND, ...STAGES, 'onnx', 'pipeline', 'telemetry', 'rpc', 'client', 'bench', 'service'],
  main: [...LEAVES, ...GROUND, 'decode', 'commands'],
};

/** Telemetry implements what these rooms declare, so it may know their types. */
const MAY_IMPORT_TYPES: Readonly<Record<string, readonly string[]>> = {
  telemetry: ['config', 'process', 'pipeline'],
};

/** Node's own modules are everybody's. A package that is not listed is nobody's. */
const PACKAGE_ROOMS: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': ['contract', 'rpc', 'client'],
  '@grpc/proto-loader': ['contract', 'rpc'],
  '@grpc/reflection': ['rpc'],
  protobufjs: ['rpc', 'onnx'],
  sharp: ['decode'],
  'onnxruntime-node': ['inference'],
  'prom-client': ['telemetry'],
  pino: ['telemetry'],
  'pino-pretty': ['telemetry'],
  '@opentelemetry/api': ['telemetry'],
  '@opentelemetry/core': ['telemetry'],
  '@opentelemetry/exporter-trace-otlp-proto': ['telemetry'],
  '@opentelemetry/resources': ['telemetry'],
  '@opentelemetry/sdk-trace': ['telemetry'],
  koffi: ['process', 'decode', 'inference'],
  zod: ['model'],
};

const ENVIRONMENT_ROOMS = ['main', 'config'];

/** The one file that loads onnxruntime, and that sets a variable of the environment before it does. */
const ONNXRUNTIME_FILE = 'inference/onnxruntime.ts';

interface Import {
  readonly from: string;
  readonly typeOnly: boolean;
}

/** Comments go, strings stay. */
function withoutComments(source: string): string {
  const tokens = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return source.replace(tokens, (token) => (token.startsWith('/') ? '' : token));
}

function importsOf(code: string): Import[] {
  const statements = /^\s*(?:import|export)\s+(type\s+)?(?:[^;'"]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
  const dynamic = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
  return [
    ...[...code.matchAll(statements)].map(([, type, from]) => ({ from: from as string, typeOnly: type !== undefined })),
    ...[...code.matchAll(dynamic)].map(([, from]) => ({ from: from as string, typeOnly: false })),
  ];
}

/** `decode/sniff.ts` lies in the room `decode`, `errors.ts` is the room `errors`. */
function roomOf(path: string): string {
  return (path.split('/')[0] as string).replace(/\.ts$/, '');
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

function importProblem(path: string, { from, typeOnly }: Import, known: ReadonlySet<string>): string | null {
  const room = roomOf(path);
  if (from.startsWith('node:')) return null;
  if (!from.startsWith('.')) {
    const rooms = PACKAGE_ROOMS[packageOf(from)];
    if (rooms === undefined) return `${path}: no room may use the package ${from}`;
    return rooms.includes(room) ? null : `${path}: ${from} is for ${rooms.join(' and ')}`;
  }
  const target = resolve(path, from);
  if (!known.has(target)) return `${path}: ${from} is no file of src/`;
  const targetRoom = roomOf(target);
  if (targetRoom === room || MAY_IMPORT[room]?.includes(targetRoom)) return null;
  if (typeOnly && MAY_IMPORT_TYPES[room]?.includes(targetRoom)) return null;
  return `${path}: ${room} must not import ${targetRoom} (${from})`;
}

function resolve(path: string, specifier: string): string {
  return join(dirname(path), specifier).replace(/\.js$/, '.ts');
}

/** Every breach of the rules. `sources`: text by path from src/, such as `decode/sniff.ts`. */
export function importProblems(sources: ReadonlyMap<string, string>): string[] {
  const known = new Set(sources.keys());
  const problems: string[] = [];
  const graph = new Map<string, readonly string[]>();
  for (const [path, source] of sources) {
    const room = roomOf(path);
    if (!(room in MAY_IMPORT)) problems.push(`${path}: the rules know no room ${room}`);
    const code = withoutComments(source);
    const imports = importsOf(code);
    problems.push(...imports.map((one) => importProblem(path, one, known)).filter((problem) => problem !== null));
    graph.set(
      path,
      imports.filter(({ from }) => from.startsWith('.')).map(({ from }) => resolve(path, from)),
    );
    const mayRead = ENVIRONMENT_ROOMS.includes(room) || path === ONNXRUNTIME_FILE;
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

/** `import … from 'onnxruntime-node'`, `import 'onnxruntime-node'`, and every call that is given that name alone: require and the like. */
const LOADS_ONNXRUNTIME = /(?:\bfrom|\bimport|\()\s*['"]onnxruntime-node(?:\/dist[^'"]*)?['"]/;
const PYTHON_LOADS_ONNXRUNTIME = /^\s*(?:import|from) onnxruntime\b/m;
const PYTHON_TELEMETRY_OFF = /^os\.environ\["ORT_DISABLE_TELEMETRY"\] = "1"$/m;

/**
 * Every way to onnxruntime but the one that turns its telemetry off first. `sources`: text by path from the root, of TypeScript,
 * JavaScript and Python. A Python file has to turn it off itself, before the import.
 */
export function onnxruntimeProblems(sources: ReadonlyMap<string, string>): string[] {
  const problems: string[] = [];
  for (const [path, source] of sources) {
    if (path.endsWith('.py')) {
      const loads = PYTHON_LOADS_ONNXRUNTIME.exec(source);
      const off = PYTHON_TELEMETRY_OFF.exec(source);
      if (loads !== null && (off === null || off.index > loads.index)) {
        problems.push(`${path}: loads onnxruntime before os.environ["ORT_DISABLE_TELEMETRY"] = "1"`);
      }
    } else if (path !== `src/${ONNXRUNTIME_FILE}` && LOADS_ONNXRUNTIME.test(withoutComments(source))) {
      problems.push(`${path}: loads onnxruntime-node past src/${ONNXRUNTIME_FILE}`);
    }
  }
  return problems;
}
