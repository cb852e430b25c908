/**
 * Which execution providers load a graph on this machine, and which of them runs each node. Found
 * by trying: a session for each provider that this build of onnxruntime knows, and one execution
 * with its profiler on. A provider may leave nodes to the CPU; the profiler's events name the
 * provider that really ran each.
 *
 * It counts the nodes that ran: onnxruntime fuses and adds nodes when it loads a graph, so their
 * number is not the file's. The profiler writes a file, into a temporary folder that is removed.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../errors.js';
import { diagnoseCuda } from './cuda/diagnose.js';
import { listSupportedBackends, openSession, Tensor } from './onnxruntime.js';
import { shortError } from './short-error.js';

export interface NodesOfOperator {
  /** onnxruntime's name: `CPUExecutionProvider`. */
  readonly provider: string;
  readonly operator: string;
  readonly count: number;
}

export interface ProviderFinding {
  /** The name in execution-provider options: `cpu`, `cuda`. */
  readonly name: string;
  /** Why it can't load or run the graph; null if it can. */
  readonly problem: string | null;
  /** Null if nothing ran, or if the profiler recorded nothing. */
  readonly nodes: readonly NodesOfOperator[] | null;
}

export interface SampleInput {
  readonly name: string;
  readonly type: 'uint8' | 'float32';
  readonly dims: readonly number[];
}

/** @param input the grey input of one execution */
export async function findNodeProviders(
  graphPath: string,
  input: SampleInput,
): Promise<ProviderFinding[]> {
  const findings: ProviderFinding[] = [];
  for (const { name } of listSupportedBackends())
    findings.push(await tryProvider(name, graphPath, input));
  return findings;
}

async function tryProvider(
  name: string,
  graphPath: string,
  input: SampleInput,
): Promise<ProviderFinding> {
  const folder = await mkdtemp(join(tmpdir(), 'vitserve-profile-'));
  try {
    const profilePrefix = join(folder, 'profile');
    const session = await openSession(graphPath, { provider: name, quiet: true, profilePrefix });
    try {
      const size = input.dims.reduce((product, dim) => product * dim, 1);
      const feed =
        input.type === 'uint8'
          ? new Tensor('uint8', new Uint8Array(size).fill(128), input.dims)
          : new Tensor('float32', new Float32Array(size), input.dims);
      await session.run({ [input.name]: feed });
      session.endProfiling();
    } finally {
      await session.release();
    }
    const [file] = await readdir(folder);
    const nodes = file === undefined ? null : nodesOf(await readFile(join(folder, file), 'utf8'));
    return { name, problem: null, nodes: nodes === null || nodes.length === 0 ? null : nodes };
  } catch (error) {
    const diagnosis = name === 'cuda' ? diagnoseCuda() : null;
    return { name, problem: diagnosis?.text ?? shortError(messageOf(error)), nodes: null };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface ProfileEvent {
  readonly cat?: string;
  readonly args?: { readonly provider?: string; readonly op_name?: string };
}

/**
 * Nodes by provider and operator, most frequent first. `profile` is onnxruntime's: a list of trace
 * events, one for each executed node.
 */
export function nodesOf(profile: string): NodesOfOperator[] {
  const counts = new Map<string, NodesOfOperator>();
  for (const { cat, args } of JSON.parse(profile) as ProfileEvent[]) {
    if (cat !== 'Node' || args?.provider === undefined || args.op_name === undefined) continue;
    const [provider, operator] = [args.provider, args.op_name];
    const key = `${provider} ${operator}`;
    counts.set(key, { provider, operator, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  return [...counts.values()].sort(
    (a, b) => b.count - a.count || a.operator.localeCompare(b.operator),
  );
}
