/**
 * Reading and writing a large ONNX model: vitserve's codec against protobufjs.
 *
 *   npm run build:test && node bench/onnx-codec.mjs [ROUNDS]
 *
 * The model is synthetic, as large as ViT-B/16 in float32: 200 tensors, 1,500 nodes, 346 MB. Each
 * candidate runs in a process of its own, ROUNDS (3) times over. Printed are minimum and median,
 * and what the process needed at most beyond the file's bytes.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { graphOf, ints, modelOf, nodeOf } from '../dist/onnx/graph/build.js';
import { decodeModel, encodeModel, encodeModelChunks } from '../dist/onnx/proto/codec.js';
import { float32Tensor } from '../dist/onnx/proto/tensors.js';
import { modelType } from '../dist-test/unit/onnx/onnx-schema.js';

const TENSORS = 200;
const VALUES = 433_000;
const NODES = 1500;

function syntheticModel() {
  const weights = new Float32Array(VALUES).fill(0.5);
  const initializer = Array.from({ length: TENSORS }, (_, at) =>
    float32Tensor(`w${at}`, [VALUES], weights),
  );
  const attributes = { perm: ints([0, 2, 1, 3]) };
  const node = Array.from({ length: NODES }, (_, at) =>
    nodeOf('MatMul', [`x${at}`, `w${at % TENSORS}`], [`x${at + 1}`], { attributes }),
  );
  return encodeModel(modelOf(graphOf('synthetic', { node, initializer }), { opsets: { '': 17 } }));
}

const ours = { decode: decodeModel, encode: encodeModel, pieces: encodeModelChunks };

function theirs() {
  const type = modelType(true);
  const encode = (model) => type.encode(model).finish();
  return { decode: (bytes) => type.decode(bytes), encode, pieces: null };
}

function timed(call) {
  const start = performance.now();
  const result = call();
  return { result, ms: performance.now() - start };
}

/** Minimum and median. */
function summary(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return `${sorted[0].toFixed(0)} (${sorted[Math.floor(values.length / 2)].toFixed(0)})`;
}

function contest(name, rounds) {
  const { decode, encode, pieces } = name === 'protobufjs' ? theirs() : ours;
  const bytes = syntheticModel();
  const before = process.resourceUsage().maxRSS;
  const times = { decode: [], encode: [], pieces: [] };
  for (let round = 0; round < rounds; round++) {
    const { result: model, ms } = timed(() => decode(bytes));
    times.decode.push(ms);
    times.encode.push(timed(() => encode(model)).ms);
    if (pieces !== null) times.pieces.push(timed(() => pieces(model)).ms);
  }
  const shown = Object.entries(times).filter(([, values]) => values.length > 0);
  const text = shown.map(([what, values]) => `${what} ${summary(values)} ms`).join(', ');
  const more = (process.resourceUsage().maxRSS - before) / 1024;
  console.log(
    `${name}: ${(bytes.length / 1e6).toFixed(0)} MB, ${text}, ${more.toFixed(0)} MiB more at most`,
  );
}

const [, , rounds = '3', candidate] = process.argv;
if (candidate !== undefined) contest(candidate, Number(rounds));
else {
  for (const name of ['vitserve', 'protobufjs']) {
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), rounds, name], {
      stdio: 'inherit',
    });
  }
}
