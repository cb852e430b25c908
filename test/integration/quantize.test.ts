/**
 * `vitserve quantize` and `vitserve inspect` through the built program, and what onnxruntime makes
 * of the graphs.
 */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { loadModelFolder, type Model } from '#vitserve/models/repository.js';
import { float, int, tensor, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import { GraphBuilder } from '#vitserve/onnx/graph/graph-builder.js';
import { inferShapes } from '#vitserve/onnx/graph/shapes.js';
import { quantizeToInt8 } from '#vitserve/onnx/passes/quantize.js';
import { WEIGHT_LIMITS, type WeightBits } from '#vitserve/onnx/passes/quantize-weights.js';
import { readModel, writeModel } from '#vitserve/onnx/proto/files.js';
import { DataType, type ModelProto } from '#vitserve/onnx/proto/model-proto.js';
import { int8Tensor } from '#vitserve/onnx/proto/tensors.js';
import { compareAnswers } from '#vitserve/workers/inference/compare-sessions.js';
import { findNodeProviders } from '#vitserve/workers/inference/node-providers.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { openGraph } from '#vitserve/workers/inference/run-graph.js';
import { blocksOf } from '../contract/repository.js';
import { jpeg, TEXT, texture } from '../support/images.js';
import {
  MODELS,
  PROGRAM,
  runProgram,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

const DEFAULT_MODEL = join(MODELS, 'vit-cifar10');
const IMAGES = Array.from({ length: 24 }, (_, seed) => texture(seed, 32, 32));
const PIXELS = { name: 'pixels', type: 'uint8', dims: [1, 32, 32, 3] } as const;

const scope = suiteScope();

/** The default model in a repository of its own. */
function copyOfDefault(): string {
  const home = join(temporaryFolder(scope), 'vit');
  cpSync(join(DEFAULT_MODEL, '1'), join(home, '1'), { recursive: true });
  return home;
}

async function sessionOf({ graphPath, manifest }: Model) {
  return (await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 })).session;
}

/** Runs a graph with one float input `x` and one float output `y`. */
async function run(
  model: ModelProto,
  dims: readonly number[],
  values: Float32Array,
): Promise<Float32Array> {
  const path = join(temporaryFolder(scope), 'graph.onnx');
  await writeModel(path, model);
  const graph = await openGraph(path);
  const bytes = new Uint8Array(values.buffer);
  const results = await graph.run({ x: { type: 'float32', dims, bytes } }, ['y']);
  await graph.close();
  return new Float32Array(Uint8Array.from(results.get('y')?.bytes ?? []).buffer);
}

describe('vitserve quantize', () => {
  let home: string;
  let source: Model;
  let text: string;
  before(async () => {
    home = copyOfDefault();
    const images = join(temporaryFolder(scope), 'images');
    mkdirSync(join(images, 'deeper'), { recursive: true });
    writeFileSync(join(images, 'one.jpg'), await jpeg(1));
    writeFileSync(join(images, 'deeper/two.JPEG'), await jpeg(2));
    writeFileSync(join(images, 'broken.png'), TEXT);
    const finished = await vitserve(scope, ['quantize', join(home, '1'), '--images', images]);
    assert.equal(finished.code, 0, finished.stderr);
    text = finished.stdout;
    source = await loadModelFolder(join(home, '1'));
  });

  test('writes the next version, which is then served and runs image by image', async () => {
    const { version, manifest } = await loadModelFolder(home);
    assert.equal(version, '2');
    assert.equal(manifest.batchInvariant, false);
    assert.equal(manifest.provenance.quantizedFrom, 'vit/1');
    assert.equal(manifest.provenance.quantizedFromSha256, source.manifest.graph.sha256);
    assert.equal(manifest.provenance.source, source.manifest.provenance.source);
    assert.equal(manifest.graph.weightBits, 7);
    const { description, provenance, graph, batchInvariant, ...same } = manifest;
    const {
      description: _,
      provenance: __,
      graph: ___,
      batchInvariant: ____,
      ...expected
    } = source.manifest;
    assert.deepEqual(same, expected);
    assert.deepEqual(readdirSync(home).sort(), ['1', '2']);
  });

  test('reports size, speed and answers, and the files it left out', () => {
    assert.match(text, /^vit\/1 as int8\n {2}size +4\.\d\d → 1\.3\d MB\n/);
    assert.match(text, /\d+ matrix products, 1\.19 million weights of 7 bits\n/);
    assert.match(text, /speed +\d+\.\d\d times as fast on cpu \(/);
    assert.match(text, /same class first in 2 of 2 images\n/);
    assert.match(text, /skipped +\S+broken\.png: /);
    assert.ok(text.endsWith(`wrote ${join(home, '2')}\n`));
  });

  test('the file is less than a third, the answers are near', async () => {
    const result = await loadModelFolder(home);
    assert.ok(statSync(result.graphPath).size * 3 < statSync(source.graphPath).size);
    const found = await compareAnswers(await sessionOf(source), await sessionOf(result), IMAGES);
    assert.ok(
      found.sameTop1 >= IMAGES.length - 1 && found.maxDifference < 0.05,
      JSON.stringify(found),
    );
    // Otherwise nothing was quantized.
    assert.ok(found.maxDifference > 1e-5);
  });

  test('every product is fused with the quantization before it and the bias after it', async () => {
    const [cpu] = await findNodeProviders((await loadModelFolder(home)).graphPath, PIXELS);
    const ran = new Map(cpu?.nodes?.map(({ operator, count }) => [operator, count]));
    const fused = (ran.get('DynamicQuantizeMatMul') ?? 0) + (ran.get('MatMulIntegerToFloat') ?? 0);
    // All except the patch embedding, which has no quantization before it.
    assert.equal(fused, Number(/(\d+) matrix products/.exec(text)?.[1]) - 1);
    assert.equal(ran.get('MatMulInteger'), 1);
    // The remaining Adds: the correction of the patches, the positions, and two residuals in each
    // of four layers.
    assert.ok((ran.get('Add') ?? 0) <= 10, `${ran.get('Add')}`);
  });

  test('rejects a version that exists, in one line, and leaves nothing behind', async () => {
    const { code, stderr } = await vitserve(scope, ['quantize', home]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^vitserve: \S+model\.onnx: MatMulInteger "\S+": the graph is already quantized: .*\n$/,
    );
    assert.deepEqual(readdirSync(home).sort(), ['1', '2']);
    assert.deepEqual(readdirSync(join(home, '..')), ['vit']);
  });

  test("float16, into a folder of one's own", async () => {
    const out = join(temporaryFolder(scope), 'other/7');
    const { code, stdout, stderr } = await vitserve(scope, [
      'quantize',
      join(home, '1'),
      '--dtype',
      'float16',
      '--out',
      out,
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /same class first in 16 of 16 random images/);
    const result = await loadModelFolder(out);
    assert.equal(result.manifest.batchInvariant, 'accelerator');
    assert.ok(statSync(result.graphPath).size < 0.52 * statSync(source.graphPath).size);
    const found = await compareAnswers(await sessionOf(source), await sessionOf(result), IMAGES);
    assert.ok(found.maxDifference < 5e-3 && found.maxDifference > 0, JSON.stringify(found));
    const again = await vitserve(scope, ['quantize', join(home, '1'), '--out', out]);
    assert.match(again.stderr, /--out \S+ exists/);
  });

  test('uses 8 bits if requested, and the manifest says so', async () => {
    const out = join(temporaryFolder(scope), 'eight/1');
    const args = ['quantize', join(home, '1'), '--weight-bits', '8', '--out', out];
    const { code, stdout, stderr } = await vitserve(scope, args);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /weights of 8 bits\n/);
    const result = await loadModelFolder(out);
    assert.equal(result.manifest.graph.weightBits, 8);
    const found = await compareAnswers(await sessionOf(source), await sessionOf(result), IMAGES);
    assert.ok(
      found.sameTop1 >= IMAGES.length - 1 && found.maxDifference < 0.05,
      JSON.stringify(found),
    );
  });

  const mistakes: Readonly<Record<string, readonly [args: string[], problem: RegExp]>> = {
    'no folder': [[], /give one MODEL_FOLDER/],
    'a folder that is none': [['/nowhere/vit/1'], /can't read \/nowhere/],
    'a head that float16 has no use for': [
      ['x', '--dtype', 'float16', '--head'],
      /head needs dtype int8/,
    ],
    'bits that float16 has no use for': [
      ['x', '--dtype', 'float16', '--weight-bits', '8'],
      /weight-bits 8 needs dtype int8/,
    ],
    'bits that there are none of': [['x', '--weight-bits', '6'], /weight-bits.*7 or 8/],
    'an output that is no version': [
      [DEFAULT_MODEL, '--out', '/tmp/vit'],
      /--out \/tmp\/vit does not end with a version/,
    ],
    'images that are none': [
      [DEFAULT_MODEL, '--images', join(MODELS, '../proto'), '--out', '/nowhere/vit/1'],
      /no JPEG, PNG or WebP file/,
    ],
  };
  for (const [what, [args, problem]] of Object.entries(mistakes)) {
    test(`says what is wrong with ${what}`, async () => {
      const { code, stderr } = await vitserve(scope, ['quantize', ...args]);
      assert.notEqual(code, 0);
      assert.match(stderr, problem);
    });
  }
});

describe('int8 products in onnxruntime', () => {
  const [rows, inner, columns] = [5, 32, 12];
  const LARGE = 64;
  const wave = (count: number, step: number) =>
    Float32Array.from({ length: count }, (_, at) => Math.sin(at * step) * 3);
  const x = wave(rows * inner, 0.7);
  const weights = wave(inner * columns, 1.3);

  /**
   * The graph's meaning: uint8 activations with one scale, int8 weights with a scale a column (ONNX
   * DynamicQuantizeLinear).
   */
  function expected(at: (row: number, column: number) => number, bits: WeightBits): number[] {
    const [low, high] = [Math.min(0, ...x), Math.max(0, ...x)];
    const scale = Math.fround((high - low) / 255);
    const zero = Math.round(Math.max(0, Math.min(255, -low / scale)));
    const quantized = x.map(
      (value) => Math.max(0, Math.min(255, Math.round(value / scale) + zero)) - zero,
    );
    const results: number[] = [];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const line = Array.from({ length: inner }, (_, i) => at(i, column));
        const step = Math.max(...line.map(Math.abs)) / WEIGHT_LIMITS[bits];
        const sum = line.reduce(
          (total, weight, i) =>
            total + Math.round(weight / step) * (quantized[row * inner + i] ?? 0),
          0,
        );
        results.push(sum * step * scale);
      }
    }
    return results;
  }

  /** x·W of bytes that are all 255, by MatMulInteger. */
  async function integerSums(values: Int8Array, images: number): Promise<Float32Array> {
    const graph = new GraphBuilder();
    graph.input('x', DataType.UINT8, ['batch', LARGE]);
    const constant = graph.node('Constant', 'w', [], {
      value: tensor(int8Tensor('', [LARGE, columns], values)),
    });
    const sum = graph.node('MatMulInteger', 'sum', ['x', constant]);
    graph.node('Cast', 'y', [sum], { to: int(DataType.FLOAT) });
    graph.output('y', ['batch', columns]);
    const path = join(temporaryFolder(scope), 'graph.onnx');
    await writeModel(path, graph.model('integers', 17, ''));
    const session = await openGraph(path);
    const bytes = new Uint8Array(images * LARGE).fill(255);
    const results = await session.run({ x: { type: 'uint8', dims: [images, LARGE], bytes } }, [
      'y',
    ]);
    await session.close();
    return new Float32Array(Uint8Array.from(results.get('y')?.bytes ?? []).buffer);
  }

  function near(found: Float32Array, wanted: readonly number[]): void {
    assert.equal(found.length, wanted.length);
    found.forEach((value, at) => {
      assert.ok(
        Math.abs(value - (wanted[at] as number)) < 1e-3,
        `${at}: ${value} for ${wanted[at]}`,
      );
    });
  }

  for (const bits of [7, 8] as const) {
    test(`a MatMul computes what its integers say: ${bits} bits`, async () => {
      const graph = new GraphBuilder();
      graph.input('x', DataType.FLOAT, ['batch', inner]);
      graph.node('MatMul', 'y', ['x', graph.floats('w', [inner, columns], weights)]);
      graph.output('y', ['batch', columns]);
      const { model } = quantizeToInt8(graph.model('product', 17, ''), { head: true, bits });
      near(
        await run(model, [rows, inner], x),
        expected((row, column) => weights[row * columns + column] as number, bits),
      );
    });

    test(`so does a Gemm with transposed weights, a factor and a bias: ${bits} bits`, async () => {
      const graph = new GraphBuilder();
      graph.input('x', DataType.FLOAT, ['batch', inner]);
      const bias = graph.floats(
        'b',
        [columns],
        Float32Array.from({ length: columns }, (_, at) => at),
      );
      const attributes = { transB: int(1), alpha: float(2) };
      graph.node(
        'Gemm',
        'y',
        ['x', graph.floats('w', [columns, inner], weights), bias],
        attributes,
      );
      graph.output('y', ['batch', columns]);
      const { model } = quantizeToInt8(graph.model('gemm', 17, ''), { head: true, bits });
      const products = expected((row, column) => weights[column * inner + row] as number, bits);
      near(
        await run(model, [rows, inner], x),
        products.map((value, at) => 2 * value + (at % columns)),
      );
    });
  }

  /**
   * The largest integers, all of one sign: with 8 bits two products together overflow 16 bits, on
   * CPUs that add them there.
   */
  for (const bits of [7, 8] as const) {
    test(`the largest possible products are exact: ${bits} bits`, async () => {
      const values = new Int8Array(LARGE * columns).map(
        (_, at) => WEIGHT_LIMITS[bits] * (at % 3 === 0 ? -1 : 1),
      );
      for (const images of [1, rows, 64]) {
        const sums = await integerSums(values, images);
        for (const [at, sum] of sums.entries()) {
          let wanted = 0;
          for (let i = 0; i < LARGE; i++)
            wanted += 255 * (values[i * columns + (at % columns)] as number);
          assert.equal(sum, wanted, `${at} of ${images} rows`);
        }
      }
    });
  }

  test('products that share a quantization are fused as well', async () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', inner]);
    const product = (name: string) =>
      graph.node('MatMul', name, ['x', graph.floats(`${name}.w`, [inner, columns], weights)]);
    graph.node('Mul', 'y', [product('left'), product('right')]);
    graph.output('y', ['batch', columns]);
    const path = join(temporaryFolder(scope), 'graph.onnx');
    await writeModel(path, quantizeToInt8(graph.model('shared', 17, ''), { head: true }).model);
    const [cpu] = await findNodeProviders(path, {
      name: 'x',
      type: 'float32',
      dims: [rows, inner],
    });
    const ran = Object.fromEntries(
      cpu?.nodes?.map(({ operator, count }) => [operator, count]) ?? [],
    );
    assert.deepEqual(ran, { MatMulIntegerToFloat: 2, DynamicQuantizeLinear: 1, Mul: 1 });
  });
});

test("every inferred shape equals onnxruntime's", async () => {
  const model = await readModel(join(DEFAULT_MODEL, '1/model.onnx'));
  const batch = 2;
  const shapes = inferShapes(model, { pixels: [batch, 32, 32, 3] });
  const names = model.graph.node.flatMap(({ output }) => output);
  const known = new Set(model.graph.output.map(({ name }) => name));
  const output = names
    .filter((name) => !known.has(name))
    .map((name) => valueInfoOf(name, shapes.valueOf(name)?.dataType ?? 0, []));
  for (const value of output)
    if (value.type?.tensorType !== undefined) delete value.type.tensorType.shape;
  const path = join(temporaryFolder(scope), 'open.onnx');
  await writeModel(path, {
    ...model,
    graph: { ...model.graph, output: [...model.graph.output, ...output] },
  });
  const graph = await openGraph(path);
  const bytes = new Uint8Array(batch * 32 * 32 * 3);
  const results = await graph.run(
    { pixels: { type: 'uint8', dims: [batch, 32, 32, 3], bytes } },
    names,
  );
  await graph.close();
  assert.equal(results.size, names.length);
  for (const [name, { dims }] of results) assert.deepEqual(shapes.valueOf(name)?.dims, dims, name);
});

describe('vitserve inspect', () => {
  test('describes the default model as its card does', async () => {
    const { code, stdout } = await vitserve(scope, ['inspect', DEFAULT_MODEL]);
    assert.equal(code, 0);
    for (const fact of [
      /^vit-cifar10\/1\n/,
      /parameters +1\.21 million \(float32 4\.85 MB\)\n/,
      /work +0\.068 GMAC per image\n/,
      /pixels: uint8 \[batch, 32, 32, 3\]\n/,
      /labels +10: airplane, automobile, bird, cat, deer, …\n/,
      /sha256 +[0-9a-f]{64}, as in the manifest\n/,
    ]) {
      assert.match(stdout, fact);
    }
  });

  test('as JSON, with the providers: the CPU runs every node', async () => {
    const { code, stdout } = await vitserve(scope, [
      'inspect',
      DEFAULT_MODEL,
      '--json',
      '--providers',
    ]);
    assert.equal(code, 0);
    const { graph, manifest, providers } = JSON.parse(stdout);
    assert.equal(graph.macs, 68_005_248);
    assert.equal(manifest.labels.length, 10);
    const cpu = providers.find(({ name }: { name: string }) => name === 'cpu');
    assert.equal(cpu.problem, null);
    assert.ok(
      cpu.nodes.length > 5 &&
        cpu.nodes.every(
          ({ provider }: { provider: string }) => provider === 'CPUExecutionProvider',
        ),
    );
  });

  test("a graph that is not the manifest's is told of, and exits with 1", async () => {
    const home = copyOfDefault();
    const manifest = join(home, '1/model.json');
    writeFileSync(
      manifest,
      readFileSync(manifest, 'utf8').replace(/"sha256": "\w{8}/, '"sha256": "00000000'),
    );
    const { code, stdout } = await vitserve(scope, ['inspect', home]);
    assert.equal(code, 1);
    assert.match(stdout, /sha256 +[0-9a-f]{64}, NOT as in the manifest\n/);
    assert.match(stdout, /PROBLEM +\S+model\.onnx is not the graph of the manifest/);
  });

  test('a broken manifest does not hide the graph', async () => {
    const home = copyOfDefault();
    appendFileSync(join(home, '1/model.json'), '}');
    const { code, stdout } = await vitserve(scope, ['inspect', join(home, '1')]);
    assert.equal(code, 1);
    assert.match(stdout, /parameters +1\.21 million/);
    assert.match(stdout, /PROBLEM +\S+model\.json: not JSON/);
  });

  test('a graph with an open input size cannot be run, and its work is unknown', async () => {
    const graph = new GraphBuilder();
    graph.input('x', DataType.FLOAT, ['batch', 3, 'height', 'width']);
    graph.node('Conv', 'y', ['x', graph.floats('w', [2, 3, 2, 2], new Float32Array(24))]);
    graph.output('y', ['batch', 2, 'rows', 'columns']);
    const path = join(temporaryFolder(scope), 'open.onnx');
    await writeModel(path, graph.model('open', 17, ''));
    const { code, stdout } = await vitserve(scope, ['inspect', path, '--providers']);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /work +unknown: the graph leaves the size of its input open: give the model folder\n/,
    );
    assert.match(
      stdout,
      /PROBLEM +\S+: to show where its nodes run, inspect has to execute it, but the size of its input "x" is open/,
    );
  });

  test('a single file, and one that is not a graph', async () => {
    const single = await vitserve(scope, ['inspect', join(DEFAULT_MODEL, '1/model.onnx')]);
    assert.equal(single.code, 0, single.stderr);
    assert.match(single.stdout, /work +0\.068 GMAC/);
    assert.doesNotMatch(single.stdout, /labels/);
    const path = join(temporaryFolder(scope), 'letter.onnx');
    writeFileSync(path, TEXT);
    const { code, stderr } = await vitserve(scope, ['inspect', path]);
    assert.equal(code, 1);
    assert.match(stderr, /^vitserve: \S*letter\.onnx/);
  });
});

describe('the documents', () => {
  let cwd: string;
  before(async () => {
    cwd = temporaryFolder(scope);
    cpSync(join(DEFAULT_MODEL, '1'), join(cwd, 'models/vit-cifar10/1'), { recursive: true });
    mkdirSync(join(cwd, 'my-images'));
    writeFileSync(join(cwd, 'my-images/one.jpg'), await jpeg(1));
    mkdirSync(join(cwd, 'labelled/cat'), { recursive: true });
    writeFileSync(join(cwd, 'labelled/cat/one.jpg'), await jpeg(1));
  });

  for (const [document, command] of [
    ['docs/start/importing.md', 'quantize'],
    ['docs/start/importing.md', 'evaluate'],
    ['docs/start/models.md', 'inspect'],
  ] as const) {
    for (const { name, language, text } of blocksOf(document)) {
      if (language !== 'sh' || !name.startsWith(command)) continue;
      test(`${document}: ${name}`, async () => {
        const [program, ...args] = text.trim().split(' ');
        assert.equal(program, 'vitserve');
        const { code, stderr } = await runProgram(scope, 'bash', [
          '-c',
          'cd "$0" && exec "$@"',
          cwd,
          process.execPath,
          PROGRAM,
          ...args,
        ]);
        assert.equal(code, 0, stderr);
      });
    }
  }
});
