/**
 * An ONNX graph in onnxruntime: loaded on the wanted execution provider, checked against the
 * manifest, executed.
 *
 * The reported provider is the one the session was created with; onnxruntime-node throws if a
 * provider's library can't be loaded, so there is no silent fallback of the whole graph.
 */
import { messageOf, SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import { activate } from './activation.js';
import { diagnoseCuda } from './cuda/diagnose.js';
import { createNormalizer } from './normalize.js';
import { type OpenSession, openSession, Tensor, type ValueMetadata } from './onnxruntime.js';
import type { Session } from './session.js';
import { shortError } from './short-error.js';

export type ProviderChoice = 'auto' | 'cpu' | 'cuda';

export interface OnnxSessionSettings {
  readonly graphPath: string;
  readonly manifest: Manifest;
  readonly provider: ProviderChoice;
  readonly threads: number;
}

export interface LoadedOnnxSession {
  readonly session: Session;
  /** Why `auto` did not get CUDA; null if it did or if it was not requested. */
  readonly fallbackReason: string | null;
}

export async function loadOnnxSession(settings: OnnxSessionSettings): Promise<LoadedOnnxSession> {
  const { provider } = settings;
  if (provider === 'cpu') return { session: await load(settings, 'cpu'), fallbackReason: null };
  let unavailable: string;
  try {
    return { session: await load(settings, 'cuda'), fallbackReason: null };
  } catch (error) {
    if (error instanceof SetupError) throw error;
    unavailable = diagnoseCuda()?.text ?? shortError(messageOf(error));
  }
  if (provider === 'auto')
    return { session: await load(settings, 'cpu'), fallbackReason: unavailable };
  throw new SetupError('environment', [
    "execution-provider: cuda can't be used here: " +
      `${unavailable} (or set execution-provider to auto or cpu)`,
  ]);
}

async function load(settings: OnnxSessionSettings, provider: 'cpu' | 'cuda'): Promise<Session> {
  const { graphPath, manifest, threads } = settings;
  let graph: OpenSession;
  try {
    graph = await openSession(graphPath, { provider, threads });
  } catch (error) {
    if (provider === 'cuda') throw error;
    throw new SetupError('environment', [
      `${graphPath}: onnxruntime can't load it (${shortError(messageOf(error))})`,
    ]);
  }
  checkAgainstManifest(graph, manifest, graphPath);
  return createSession(graph, manifest, provider);
}

function createSession(graph: OpenSession, manifest: Manifest, executionProvider: string): Session {
  const { input, output, embedding, labels } = manifest;
  const { height, width } = input;
  const pixelBytes = height * width * 3;
  const normalize =
    input.type === 'float32' ? createNormalizer(manifest.preprocessing, input) : null;
  const fetches = embedding === null ? [output.name] : [output.name, embedding.name];
  return {
    executionProvider,
    classCount: labels.length,
    embeddingSize: embedding?.size ?? 0,
    async run(pixels, images) {
      const shape =
        input.layout === 'NHWC' ? [images, height, width, 3] : [images, 3, height, width];
      const feed =
        normalize === null
          ? new Tensor('uint8', pixels.subarray(0, images * pixelBytes), shape)
          : new Tensor('float32', normalize(pixels, images), shape);
      const results = await graph.run({ [input.name]: feed }, fetches);
      const scores = floatsOf(results[output.name], images * labels.length, output.name);
      if (output.kind === 'logits') activate(scores, images, labels.length, output.activation);
      const embeddings =
        embedding === null
          ? null
          : floatsOf(results[embedding.name], images * embedding.size, embedding.name);
      return { scores, embeddings };
    },
  };
}

function floatsOf(tensor: Tensor | undefined, length: number, name: string): Float32Array {
  const data = tensor?.data;
  if (!(data instanceof Float32Array) || data.length !== length) {
    throw new Error(
      `output ${name}: expected ${length} float32 values, ` +
        `got ${data?.length ?? 'none'} of ${tensor?.type}`,
    );
  }
  return data;
}

/** Compares the manifest's names, types and sizes with the graph's own. All differences at once. */
function checkAgainstManifest(graph: OpenSession, manifest: Manifest, graphPath: string): void {
  const { input, output, embedding, labels } = manifest;
  const problems: string[] = [];
  const describe = (list: readonly ValueMetadata[]) => list.map(({ name }) => name).join(', ');

  const found = graph.inputMetadata.find(({ name }) => name === input.name);
  if (found === undefined)
    problems.push(`no input "${input.name}": the graph has ${describe(graph.inputMetadata)}`);
  else {
    const { height, width } = input;
    const wanted = input.layout === 'NHWC' ? [null, height, width, 3] : [null, 3, height, width];
    problems.push(...compare('input', found, input.type, wanted));
  }
  const outputs: [string, number][] = [[output.name, labels.length]];
  if (embedding !== null) outputs.push([embedding.name, embedding.size]);
  for (const [name, size] of outputs) {
    const value = graph.outputMetadata.find((candidate) => candidate.name === name);
    if (value === undefined)
      problems.push(`no output "${name}": the graph has ${describe(graph.outputMetadata)}`);
    else problems.push(...compare('output', value, 'float32', [null, size]));
  }
  if (problems.length > 0) {
    throw new SetupError(
      'environment',
      problems.map((problem) => `${graphPath} does not fit its manifest: ${problem}`),
    );
  }
}

function compare(
  role: string,
  value: ValueMetadata,
  type: string,
  wanted: readonly (number | null)[],
): string[] {
  if (!value.isTensor) return [`${role} "${value.name}" is not a tensor`];
  const problems: string[] = [];
  if (value.type !== type)
    problems.push(`${role} "${value.name}" is ${value.type}, the manifest says ${type}`);
  const fits =
    value.shape.length === wanted.length &&
    value.shape.every(
      (size, axis) =>
        typeof size !== 'number' || size < 0 || wanted[axis] === null || size === wanted[axis],
    );
  if (!fits) {
    const wantedText = wanted.map((size) => size ?? 'batch').join(', ');
    problems.push(
      `${role} "${value.name}" has shape [${value.shape.join(', ')}], ` +
        `the manifest says [${wantedText}]`,
    );
  }
  return problems;
}
