/**
 * Models to measure with, made by the project's own commands: their weights are random, so their
 * answers mean nothing and their cost is real. Each has a repository of its own, because a server
 * loads all that a repository has.
 */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { presetRecipe } from '#vitserve/models/sources/recipe-presets.js';
import { int, ints } from '#vitserve/onnx/graph/build.js';
import { GraphBuilder } from '#vitserve/onnx/graph/graph-builder.js';
import { readModel, writeModel } from '#vitserve/onnx/proto/files.js';
import { DataType } from '#vitserve/onnx/proto/model-proto.js';
import { pythonWith, ROOT, run, vitserve } from './machine.js';

const SIDE = 224;
const CLASSES = 1000;

interface Transformer {
  readonly variant: string;
  readonly bits: 7 | 8;
}

/** By the name that they are asked for with; null: the toy graph. */
const MODELS: Readonly<Record<string, Transformer | null>> = {
  toy: null,
  ti: { variant: 'Ti/16', bits: 7 },
  b: { variant: 'B/16', bits: 7 },
  ti8: { variant: 'Ti/16', bits: 8 },
  b8: { variant: 'B/16', bits: 8 },
};

export interface RandomModel {
  readonly title: string;
  readonly repository: string;
  readonly folder: string;
  /**
   * What a Python program would have in its place, with float input; null where this machine's
   * Python can't make it.
   */
  readonly usualGraph: string | null;
  /** The same with weights of 7 bits. */
  readonly usualGraph7: string | null;
}

/** The model in `home`, made where it is not there yet. */
export async function randomModel(name: string, home: string): Promise<RandomModel> {
  const transformer = MODELS[name];
  if (transformer === undefined)
    throw new Error(`no model ${name}: there are ${Object.keys(MODELS).join(', ')}`);
  const repository = join(home, name);
  const folder = join(repository, `limit-${name}`, '1');
  const file = (transformer?.variant ?? name).replace('/', '-');
  const usualGraph = join(home, `${file}.usual.onnx`);
  const usualGraph7 = join(home, `${file}.usual-7.onnx`);
  if (transformer === null) {
    if (!existsSync(folder)) await makeToy(folder);
    if (!existsSync(usualGraph)) await writeFloatInput(join(folder, 'model.onnx'), usualGraph);
  } else {
    const { variant, bits } = transformer;
    const float = join(home, 'float', file, '1');
    if (!existsSync(float)) vitserve('convert', '--random', variant, '--out', float);
    if (!existsSync(folder))
      vitserve('quantize', float, '--weight-bits', String(bits), '--out', folder);
    if (!existsSync(usualGraph)) exportUsual(variant, usualGraph);
    if (!existsSync(usualGraph7)) exportUsual(variant, usualGraph7, '--reduce-range');
  }
  return {
    title:
      transformer === null
        ? 'a toy graph (decoding and serving alone)'
        : `ViT-${transformer.variant} int8, weights of ${transformer.bits} bits`,
    repository,
    folder,
    usualGraph: existsSync(usualGraph) ? usualGraph : null,
    usualGraph7: existsSync(usualGraph7) ? usualGraph7 : null,
  };
}

/** By timm and onnxruntime's quantizer, where tools/.venv has them. */
function exportUsual(variant: string, to: string, ...more: string[]): void {
  const python = pythonWith(['timm', 'torch', 'onnx', 'onnxruntime.quantization']);
  if (python === null) return;
  const script = join(ROOT, 'tools/reference/usual_export.py');
  run(python, [script, '--variant', variant, '--out', to, ...more]);
}

/**
 * The mean of every 16th pixel of every 16th row, times a small matrix: an image costs it
 * microseconds.
 */
async function makeToy(folder: string): Promise<void> {
  const graph = new GraphBuilder();
  graph.input('pixels', DataType.UINT8, ['batch', SIDE, SIDE, 3]);
  const window = [
    graph.ints('from', [0, 0]),
    graph.ints('to', [SIDE, SIDE]),
    graph.ints('axes', [1, 2]),
    graph.ints('steps', [16, 16]),
  ];
  const some = graph.node('Slice', 'some', ['pixels', ...window]);
  const floats = graph.node('Cast', 'floats', [some], { to: int(DataType.FLOAT) });
  const mean = graph.node('ReduceMean', 'mean', [floats], { axes: ints([1, 2]), keepdims: int(0) });
  const weights = Float32Array.from({ length: 3 * CLASSES }, (_, index) => Math.sin(index) / 100);
  const logits = graph.node('MatMul', 'logits', [
    mean,
    graph.floats('weights', [3, CLASSES], weights),
  ]);
  graph.node('Softmax', 'probabilities', [logits], { axis: int(-1) });
  graph.output('probabilities', ['batch', CLASSES]);

  const writing = `${folder}.writing`;
  mkdirSync(writing, { recursive: true });
  const { sha256 } = await writeModel(join(writing, 'model.onnx'), graph.model('toy', 17, 'bench'));
  const manifest = {
    formatVersion: 1,
    description: 'A graph that costs next to nothing, for measuring what everything else costs.',
    license: 'none: there is nothing in it',
    provenance: { weights: 'random' },
    graph: { file: 'model.onnx', sha256 },
    input: { name: 'pixels', layout: 'NHWC', type: 'uint8', height: SIDE, width: SIDE },
    output: { name: 'probabilities', kind: 'probabilities', activation: 'softmax' },
    embedding: null,
    preprocessing: presetRecipe('hf-vit', { height: SIDE, width: SIDE }),
    labels: Array.from({ length: CLASSES }, (_, index) => `class ${index}`),
    batchInvariant: true,
  };
  writeFileSync(join(writing, 'model.json'), JSON.stringify(manifest));
  renameSync(writing, folder);
}

/** The same graph with float input, for a program that normalises by itself. */
async function writeFloatInput(from: string, to: string): Promise<void> {
  const model = await readModel(from);
  const tensor = model.graph?.input?.[0]?.type?.tensorType;
  if (tensor === undefined) throw new Error(`${from} has no input`);
  tensor.elemType = DataType.FLOAT;
  await writeModel(to, model);
}
