/**
 * The only way to onnxruntime: nothing else in this repository, tests and benchmarks included,
 * imports the package (`test/contract/import-rules.ts`). So the necessary steps before and with it
 * cannot be forgotten.
 *
 * Telemetry is off. Otherwise onnxruntime 1.30 writes a device id and a database below the home
 * directory and a log into the temporary folder, and calls a Microsoft host within seconds. It
 * reads ORT_DISABLE_TELEMETRY with getenv() when the first session is made; assigning to
 * process.env calls setenv() in the main thread. Workers have a copy of the environment, so none
 * may load this. An operator's own value is overridden: the documents promise that nothing is sent.
 *
 * Every session has the options of `sessionOptions`. Threads don't spin while waiting: on a machine
 * shared with decoders, spinning takes cores from threads that have work. Int8 products are exact
 * on every CPU (`integer-precision.ts`).
 */
import { createRequire } from 'node:module';
import type * as Onnxruntime from 'onnxruntime-node';
import { type IntegerKernel, integerKernel, quantPrecision } from './integer-precision.js';

process.env.ORT_DISABLE_TELEMETRY = '1';
// Not an import: imports run before all statements.
const library = createRequire(import.meta.url)('onnxruntime-node') as typeof Onnxruntime;

export const { listSupportedBackends, Tensor } = library;
export type Tensor = Onnxruntime.Tensor;
/** A loaded graph. `openSession` makes them, so the factory is not exported. */
export type OpenSession = Onnxruntime.InferenceSession;
export type ValueMetadata = Onnxruntime.InferenceSession.ValueMetadata;

// onnxruntime's errors arrive as exceptions; its own lines would repeat them, in colour.
library.env.logLevel = 'fatal';

export interface SessionRequest {
  /** The node package's name: `cpu`, `cuda`. Default `cpu`. */
  readonly provider?: string;
  /** Within one operator. Default 1, so that figures repeat. */
  readonly threads?: number;
  /** Suppresses even the errors of executions. */
  readonly quiet?: boolean;
  /** A prefix for the profiler's file. Absent: no profiling. */
  readonly profilePrefix?: string;
  /** Fails if the provider can't run every node, instead of leaving some to the CPU. */
  readonly noCpuFallback?: boolean;
}

/** @param kernel what multiplies integers on the CPU; default: that of this machine */
export function sessionOptions(
  {
    provider = 'cpu',
    threads = 1,
    quiet = false,
    profilePrefix,
    noCpuFallback = false,
  }: SessionRequest,
  kernel: IntegerKernel = integerKernel(),
): Onnxruntime.InferenceSession.SessionOptions {
  const profile =
    profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix };
  return {
    executionProviders: [provider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    logSeverityLevel: quiet ? 4 : 3,
    ...profile,
    extra: {
      session: {
        intra_op: { allow_spinning: '0' },
        inter_op: { allow_spinning: '0' },
        x64quantprecision: quantPrecision(kernel),
        ...(noCpuFallback ? { disable_cpu_ep_fallback: '1' } : {}),
      },
    },
  };
}

/**
 * @param graph the path of an ONNX file, external data beside it, or the bytes of one. Rejects with
 *   onnxruntime's own error
 */
export async function openSession(
  graph: string | Uint8Array,
  request: SessionRequest = {},
): Promise<OpenSession> {
  const options = sessionOptions(request);
  return typeof graph === 'string'
    ? await library.InferenceSession.create(graph, options)
    : await library.InferenceSession.create(graph, options);
}
