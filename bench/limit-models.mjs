// Models to measure limits with, made by the project's own commands: their weights are random, so
// their answers mean nothing and their cost is real. Each has a repository of its own, because a
// server loads all that a repository has.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { presetRecipe } from '../dist/models/sources/recipe-presets.js';
import { int, ints } from '../dist/onnx/graph/build.js';
import { GraphBuilder } from '../dist/onnx/graph/graph-builder.js';
import { readModel, writeModel } from '../dist/onnx/proto/files.js';
import { DataType } from '../dist/onnx/proto/model-proto.js';
import { pythonWith } from './children.mjs';

const SIDE = 224;
const CLASSES = 1000;

/** By the name they are asked for with. */
export const LIMIT_MODELS = {
  toy: { title: 'a toy graph (decoding and serving alone)', make: makeToy },
  ti: transformer('Ti/16', 7),
  b: transformer('B/16', 7),
  ti8: transformer('Ti/16', 8),
  b8: transformer('B/16', 8),
};

function transformer(variant, bits) {
  return {
    title: `ViT-${variant} int8, weights of ${bits} bits`,
    variant,
    make: (folder) => makeTransformer(variant, bits, folder),
  };
}

/**
 * The model in `home`, made where it is not there yet, and the graphs with float input that a
 * Python program would have in its place, or null where this machine's Python can't make them:
 * `usualGraph`, and `usualGraph7` with weights of 7 bits.
 */
export async function limitModel(name, home) {
  const repository = join(home, name);
  const folder = join(repository, `limit-${name}`, '1');
  const { title, variant, make } = LIMIT_MODELS[name];
  if (!existsSync(folder)) await make(folder);
  const place = join(home, (variant ?? name).replace('/', '-'));
  const [usualGraph, usualGraph7] = [`${place}.usual.onnx`, `${place}.usual-7.onnx`];
  if (variant === undefined) {
    if (!existsSync(usualGraph)) await writeFloatInput(join(folder, 'model.onnx'), usualGraph);
  } else {
    if (!existsSync(usualGraph)) exportUsual(variant, usualGraph);
    if (!existsSync(usualGraph7)) exportUsual(variant, usualGraph7, '--reduce-range');
  }
  const found = (path) => (existsSync(path) ? path : null);
  return {
    title,
    repository,
    folder,
    usualGraph: found(usualGraph),
    usualGraph7: found(usualGraph7),
  };
}

/** By timm and onnxruntime's quantizer, where tools/.venv has them. */
function exportUsual(variant, to, ...more) {
  const python = pythonWith(['timm', 'torch', 'onnx', 'onnxruntime.quantization']);
  if (python === null) return;
  const script = fileURLToPath(new URL('../tools/reference/usual_export.py', import.meta.url));
  const { status, stderr } = spawnSync(
    python,
    [script, '--variant', variant, '--out', to, ...more],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
}

function vitserve(...args) {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`vitserve ${args.join(' ')}: ${stderr}`);
}

function makeTransformer(variant, bits, folder) {
  const float = join(dirname(dirname(dirname(folder))), 'float', variant.replace('/', '-'), '1');
  if (!existsSync(float)) vitserve('convert', '--random', variant, '--out', float);
  vitserve('quantize', float, '--weight-bits', String(bits), '--out', folder);
}

/**
 * The mean of every 16th pixel of every 16th row, times a small matrix: an image costs it
 * microseconds.
 */
async function makeToy(folder) {
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
async function writeFloatInput(from, to) {
  const model = await readModel(from);
  model.graph.input[0].type.tensorType.elemType = DataType.FLOAT;
  await writeModel(to, model);
}
