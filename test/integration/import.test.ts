/**
 * `vitserve import` on small exports of every kind, through the built program;
 * docs/start/importing.md, executed: its commands, and every row of its table of refusals.
 * Probabilities are held against what the test itself works out.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { loadModelFolder, loadRepository, type Model } from '#vitserve/models/repository.js';
import { float, valueInfoOf } from '#vitserve/onnx/graph/build.js';
import { quantizeToInt8 } from '#vitserve/onnx/passes/quantize.js';
import { writeModel } from '#vitserve/onnx/proto/files.js';
import { DataType, type ModelProto } from '#vitserve/onnx/proto/model-proto.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { loadOnnxSession } from '#vitserve/workers/inference/onnx-session.js';
import { blocksOf } from '../contract/repository.js';
import { readTable, writeRow } from '../support/document-table.js';
import {
  answerOf,
  classifier,
  HF_AXES,
  HF_CONFIG,
  HF_PREPROCESSOR,
  LABELS,
  SIDE,
  TIMM_CONFIG,
  type Variation,
  writeGraph,
  writeJson,
} from '../support/exported-models.js';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg, texture } from '../support/images.js';
import {
  type Finished,
  ONE_EACH,
  PROGRAM,
  runProgram,
  type Scope,
  ServerProcess,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';
import { PLAIN as PLAIN_VIT, tinyVit } from '../support/tiny-vit.js';

const DOCUMENT = 'docs/start/importing.md';
const IMAGES = [1, 2, 3, 4].map((seed) => texture(seed, SIDE, SIDE));

/** Runs an import into a repository of its own, which must succeed. */
async function imported(scope: Scope, path: string, flags: readonly string[] = []) {
  const models = join(temporaryFolder(scope), 'models');
  const finished = await vitserve(scope, ['import', path, '--model-repository', models, ...flags]);
  assert.equal(finished.code, 0, finished.stderr);
  const loaded = await loadRepository(models, '', { allowRandomWeights: false });
  const [model] = loaded.models;
  assert(model !== undefined);
  return { ...finished, models, model };
}

/** The probabilities of a server session for each of `IMAGES`, one by one. */
async function answers({ graphPath, manifest }: Model): Promise<number[][]> {
  const { session } = await loadOnnxSession({ graphPath, manifest, provider: 'cpu', threads: 1 });
  const rows: number[][] = [];
  for (const image of IMAGES) rows.push(Array.from((await session.run(image, 1)).scores));
  return rows;
}

/** A session's probabilities against the test's own arithmetic. */
async function assertAnswers(
  model: Model,
  variation: Variation,
  tolerance: number,
  both = false,
): Promise<void> {
  const { mean, std } = model.manifest.preprocessing;
  const seen = await answers(model);
  for (const [index, image] of IMAGES.entries()) {
    const [first = 0, ...others] = answerOf(image, { mean, std }, variation);
    const expected = both ? [1 - first, first] : [first, ...others];
    assert.equal(seen[index]?.length, expected.length);
    for (const [at, value] of expected.entries()) {
      const difference = Math.abs(value - (seen[index]?.[at] ?? Number.NaN));
      assert.ok(
        difference <= tolerance,
        `image ${index}, class ${at}: ${seen[index]?.[at]}, expected ${value}`,
      );
    }
  }
}

describe('exports of every kind', () => {
  const scope = suiteScope();
  const folder = temporaryFolder(scope);
  const labels = join(folder, 'labels.txt');
  writeFileSync(labels, `${LABELS.join('\n')}\n`);
  const PLAIN = ['--recipe', 'torchvision', '--labels', labels];

  interface Kind {
    readonly what: string;
    readonly variation: Variation;
    readonly flags?: readonly string[];
    /** Beside the graph. */
    readonly files?: Readonly<Record<string, unknown>>;
    readonly graph?: string;
    /** The named path: the folder or the graph. */
    readonly names?: 'folder' | 'graph';
    readonly tolerance?: number;
    readonly both?: boolean;
    readonly external?: boolean;
    check?(model: Model, finished: Finished): void;
  }

  const HF = { 'config.json': HF_CONFIG, 'preprocessor_config.json': HF_PREPROCESSOR };
  const kinds: Kind[] = [
    {
      what: 'a folder of optimum',
      variation: HF_AXES,
      files: HF,
      check({ manifest, version }) {
        assert.equal(version, '1');
        assert.deepEqual(manifest.labels, LABELS);
        assert.deepEqual(manifest.embedding?.size, 6);
        assert.equal(manifest.input.type, 'uint8');
        assert.equal(manifest.batchInvariant, true);
        assert.match(
          manifest.description,
          /^ViTForImageClassification, imported from model\.onnx\.$/,
        );
        assert.equal(manifest.provenance.producer, 'pytorch 2.15.0');
        assert.equal(manifest.provenance.opset, 'ai.onnx 17');
        assert.match(manifest.provenance.sha256 ?? '', /^[0-9a-f]{64}$/);
      },
    },
    {
      what: 'several labels an image',
      variation: HF_AXES,
      files: { ...HF, 'config.json': { ...HF_CONFIG, problem_type: 'multi_label_classification' } },
      check: ({ manifest }) => assert.equal(manifest.output.activation, 'sigmoid'),
    },
    {
      what: 'a folder of transformers.js, named by its graph',
      variation: HF_AXES,
      files: HF,
      graph: 'onnx/model.onnx',
      names: 'graph',
    },
    {
      what: 'the fp16 variant of transformers.js',
      variation: { ...HF_AXES, half: true },
      files: HF,
      graph: 'onnx/model_fp16.onnx',
      flags: ['--variant', 'fp16'],
      tolerance: 5e-3,
      check(_, { stdout, stderr }) {
        assert.match(stderr, /this file is for CUDA \(float16 weights\)/);
        assert.match(stdout, /--execution-provider cuda\n$/);
      },
    },
    {
      what: 'timm',
      variation: { input: 'input0', output: 'output0' },
      files: { 'config.json': TIMM_CONFIG },
      graph: 'vit.onnx',
      check({ manifest }) {
        assert.deepEqual(manifest.preprocessing.resize, { mode: 'shortest-edge', size: 17 });
        assert.equal(manifest.license, 'apache-2.0');
      },
    },
    { what: 'torchvision', variation: {}, names: 'graph', flags: PLAIN },
    {
      what: 'a fixed batch and names of TorchScript',
      variation: { input: 'input.1', output: '42', dims: [1, 3, SIDE, SIDE] },
      names: 'graph',
      flags: PLAIN,
    },
    {
      what: 'NHWC that ends in Softmax',
      variation: { layout: 'NHWC', ending: 'Softmax' },
      names: 'graph',
      flags: PLAIN,
    },
    { what: 'Sigmoid at the end', variation: { ending: 'Sigmoid' }, names: 'graph', flags: PLAIN },
    {
      what: 'one logit without an axis for classes, with two labels',
      variation: { rankOne: true },
      names: 'graph',
      flags: ['--recipe', 'timm', '--labels', join(folder, 'two.json')],
      both: true,
      check: ({ manifest }) => assert.deepEqual(manifest.labels, ['no', 'yes']),
    },
    {
      what: 'weights in a file of their own',
      variation: {},
      names: 'graph',
      flags: PLAIN,
      external: true,
    },
    {
      what: 'dynamic int8: as far from the original as that is from itself, and executed image by image',
      variation: { quantized: true },
      names: 'graph',
      flags: ['--recipe', 'hf-vit', '--labels', labels],
      tolerance: 0.05,
      check({ manifest }, { stdout, stderr }) {
        assert.equal(manifest.batchInvariant, false);
        assert.match(
          stdout,
          /note: the original's own probabilities change by \S+ if its input changes in the last bits/,
        );
        assert.match(stdout, /--execution-provider cpu\n$/);
        assert.match(stderr, /this file is for the CPU \(DynamicQuantizeLinear\)/);
      },
    },
    {
      what: 'a graph that cannot be prepared is served as it is',
      variation: { old: true },
      names: 'graph',
      flags: PLAIN,
      check({ manifest }, { stdout }) {
        assert.deepEqual([manifest.input.type, manifest.output.kind], ['float32', 'logits']);
        assert.equal(manifest.preprocessing.normalizedInGraph, false);
        assert.match(
          stdout,
          /note: the graph is served as it is, without an embedding, because it can't be prepared: .*operator set/,
        );
      },
    },
    {
      what: 'no embedding wanted',
      variation: {},
      names: 'graph',
      flags: [...PLAIN, '--no-embedding', '--license', 'MIT', '--description', 'A test.'],
      check({ manifest }) {
        assert.equal(manifest.embedding, null);
        assert.deepEqual([manifest.license, manifest.description], ['MIT', 'A test.']);
      },
    },
  ];
  writeJson(join(folder, 'two.json'), ['no', 'yes']);

  for (const [index, kind] of kinds.entries()) {
    test(kind.what, async (t) => {
      const { variation, files = {}, graph = 'model.onnx', flags = [], names = 'folder' } = kind;
      const place = join(folder, `kind-${index}`);
      await writeGraph(
        join(place, graph),
        classifier(variation),
        kind.external === true ? 'always' : 'never',
      );
      if (kind.external === true) assert.equal(readdirSync(place).length, 2);
      for (const [name, content] of Object.entries(files)) writeJson(join(place, name), content);
      const finished = await imported(t, names === 'folder' ? place : join(place, graph), flags);
      const multiple = 'problem_type' in ((files['config.json'] as object | undefined) ?? {});
      await assertAnswers(
        finished.model,
        multiple ? { ...variation, ending: 'Sigmoid' } : variation,
        kind.tolerance ?? 1e-5,
        kind.both,
      );
      kind.check?.(finished.model, finished);
    });
  }
});

describe('int8 graphs from other tools', () => {
  const scope = suiteScope();

  /**
   * A transformer quantized elsewhere, with weights of 8 or 7 bits, also for CPUs that saturate.
   */
  for (const bits of [8, 7] as const) {
    test(`with ${bits}-bit weights answer as the original, and the manifest says so`, async (t) => {
      const graph = join(temporaryFolder(scope), 'vit.onnx');
      const { model } = quantizeToInt8(tinyVit({ ...PLAIN_VIT, mlp: 'fused' }), {
        head: true,
        bits,
      });
      await writeModel(graph, model);
      const { stdout, model: served } = await imported(t, graph, [
        '--recipe',
        'hf-vit',
        '--labels',
        'none',
      ]);
      assert.match(stdout, /self-check +12 images: .* top-1 is the same in 12\n/);
      assert.equal(served.manifest.graph.weightBits, bits);
    });
  }

  test('a graph without int8 has no bits in its manifest', async (t) => {
    const graph = join(temporaryFolder(scope), 'vit.onnx');
    await writeModel(graph, tinyVit(PLAIN_VIT));
    const { model } = await imported(t, graph, ['--recipe', 'hf-vit', '--labels', 'none']);
    assert.equal('weightBits' in model.manifest.graph, false);
  });
});

describe('the model repository', () => {
  const scope = suiteScope();
  const folder = temporaryFolder(scope);
  const graph = join(folder, 'vit.onnx');
  const FLAGS = ['--recipe', 'torchvision', '--labels', 'none'];

  before(() => writeGraph(graph, classifier()));

  test('a second import is the next version, and leaves nothing else behind', async (t) => {
    const { models } = await imported(t, graph, FLAGS);
    const again = await vitserve(t, ['import', graph, '--model-repository', models, ...FLAGS]);
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(readdirSync(models), ['vit']);
    assert.deepEqual(readdirSync(join(models, 'vit')).sort(), ['1', '2']);
    assert.deepEqual(readdirSync(join(models, 'vit/2')).sort(), ['model.json', 'model.onnx']);
  });

  test('a failed import leaves nothing behind', async (t) => {
    const models = join(temporaryFolder(t), 'models');
    const broken = join(temporaryFolder(t), 'vit.onnx');
    await writeGraph(
      broken,
      classifier({ operator: { domain: 'com.example', opType: 'Sparkle' } }),
    );
    const { code } = await vitserve(t, ['import', broken, '--model-repository', models, ...FLAGS]);
    assert.equal(code, 1);
    assert.deepEqual(readdirSync(models), []);
  });

  test('the printed command serves the model', async (t) => {
    const { stdout, models } = await imported(t, graph, FLAGS);
    const command = stdout.trimEnd().split('\n').at(-1)?.trim().split(' ') ?? [];
    assert.deepEqual(command, [
      'vitserve',
      'serve',
      '--model-repository',
      models,
      '--default-model',
      'vit',
    ]);
    const server = await ServerProcess.start(t, [...command.slice(2), ...ONE_EACH]);
    const client = new PlainClient(t, server.address);
    const image = await jpeg(1);
    const { predictions } = await client.classify({ image, topK: LABELS.length });
    const { manifest } = await loadModelFolder(join(models, 'vit'));
    const pixels = new Uint8Array(SIDE * SIDE * 3);
    const side = { height: SIDE, width: SIDE, maxImagePixels: 1e6 };
    await createPixelPreparer({ ...side, recipe: manifest.preprocessing }).prepare(image, pixels);
    const expected = answerOf(pixels, manifest.preprocessing);
    for (const { classIndex, label, score } of predictions) {
      assert.equal(label, `class ${classIndex}`);
      assert.ok(Math.abs(score - (expected[classIndex] ?? 0)) < 1e-5, `${label}: ${score}`);
    }
  });

  test('a graph whose answers vary is rejected, and kept with --force', async (t) => {
    const restless = classifier();
    const nodes = restless.graph.node;
    const gemm = nodes.at(-1);
    assert(gemm);
    gemm.output = ['steady'];
    const attribute = [{ name: 'scale', ...float(20) }];
    const noise = {
      ...gemm,
      name: 'noise',
      opType: 'RandomNormalLike',
      input: ['steady'],
      output: ['noise'],
      attribute,
    };
    const sum = {
      ...gemm,
      name: 'sum',
      opType: 'Add',
      input: ['steady', 'noise'],
      output: ['output'],
    };
    nodes.push(noise, sum);
    const path = join(temporaryFolder(t), 'vit.onnx');
    await writeGraph(path, restless);
    const models = join(temporaryFolder(t), 'models');
    const args = ['import', path, '--model-repository', models, ...FLAGS];
    const { code, stderr } = await vitserve(t, args);
    assert.equal(code, 2);
    assert.match(
      stderr,
      /probabilities differ from the original's by up to \S+, more than 0\.001 \(.*--force/,
    );
    assert.ok(!existsSync(join(models, 'vit')));
    const forced = await vitserve(t, [...args, '--force']);
    assert.equal(forced.code, 0, forced.stderr);
    assert.equal((await loadModelFolder(join(models, 'vit'))).manifest.batchInvariant, false);
  });
});

/** Exports as docs/start/importing.md has them in its commands. */
async function writeDocumented(folder: string): Promise<void> {
  const hf = classifier(HF_AXES);
  for (const [name, graph] of [
    ['flowers', 'model.onnx'],
    ['flowers-js', 'onnx/model.onnx'],
  ] as const) {
    await writeGraph(join(folder, name, graph), hf);
    writeJson(join(folder, name, 'config.json'), HF_CONFIG);
    writeJson(join(folder, name, 'preprocessor_config.json'), HF_PREPROCESSOR);
  }
  await writeGraph(
    join(folder, 'flowers-js/onnx/model_fp16.onnx'),
    classifier({ ...HF_AXES, half: true }),
  );
  await writeGraph(
    join(folder, 'flowers-timm/vit.onnx'),
    classifier({ input: 'input0', output: 'output0' }),
  );
  const { label_names, ...timm } = TIMM_CONFIG;
  assert(label_names);
  writeJson(join(folder, 'flowers-timm/config.json'), timm);
  await writeGraph(join(folder, 'vit.onnx'), classifier());
  await writeGraph(
    join(folder, 'open.onnx'),
    classifier({ layout: 'NHWC', dims: ['n', 'h', 'w', 'c'] }),
  );
  writeFileSync(join(folder, 'labels.txt'), `${LABELS.join('\n')}\n`);
  writeJson(join(folder, 'labels.json'), LABELS);
  mkdirSync(join(folder, 'photos'));
  for (const seed of [1, 2]) writeFileSync(join(folder, `photos/${seed}.jpg`), await jpeg(seed));
}

describe('the commands of the document', () => {
  const scope = suiteScope();
  const folder = temporaryFolder(scope);
  const models = join(folder, 'models');
  const blocks = blocksOf(DOCUMENT).filter(
    ({ language, name }) => language === 'sh' && name.startsWith('import-'),
  );

  before(() => writeDocumented(folder));

  for (const { name, text } of blocks) {
    test(name, async (t) => {
      const script = `set -e; cd "$1"; node="$2" program="$3"; vitserve() { "$node" "$program" "$@"; }\n${text}`;
      const args = ['-c', script, 'sh', folder, process.execPath, PROGRAM];
      const { code, stdout, stderr } = await runProgram(t, 'sh', args, {
        VITSERVE_MODEL_REPOSITORY: models,
      });
      assert.equal(code, 0, stderr);
      assert.equal(stdout.match(/^wrote /gm)?.length, text.trim().split('\n').length);
      const shown = blocksOf(DOCUMENT).find((block) => block.name === `${name}-output`);
      if (shown === undefined) return;
      // The last digits of floating point differ from machine to machine.
      const masked = (output: string) =>
        output.replace(/differ by at most [^,]+/, 'differ by at most N');
      assert.equal(masked(stdout).replace(/^wrote [\s\S]*/m, ''), masked(shown.text));
    });
  }

  test('exist, and compare pictures of the user', async (t) => {
    assert.ok(blocks.length >= 6);
    const args = [
      'import',
      join(folder, 'flowers'),
      '--model-repository',
      models,
      '--check-images',
      join(folder, 'photos'),
    ];
    const { stdout } = await vitserve(t, args);
    assert.match(stdout, /self-check {2}10 images: .* same in 10$/m);
  });
});

interface Refusal {
  readonly what: string;
  /** Sets up what is given; returns the arguments of the import. */
  set(folder: string): Promise<readonly string[]> | readonly string[];
}

const FLAGS = ['--recipe', 'torchvision', '--labels', 'none'];

/** A graph alone in a folder, with enough flags. */
function given(
  what: string,
  make: () => ModelProto,
  spoil: (path: string) => void = () => {},
): Refusal {
  return {
    what,
    async set(folder) {
      const path = join(folder, 'vit.onnx');
      await writeGraph(path, make());
      spoil(path);
      return [path, ...FLAGS];
    },
  };
}

function changed(change: (model: ModelProto) => void): () => ModelProto {
  return () => {
    const model = classifier();
    change(model);
    return model;
  };
}

/** Weights outside, at a place that is then replaced in the file by one of the same length. */
function externalAt(what: string, location: string): Refusal {
  return {
    what,
    async set(folder) {
      const path = join(folder, 'vit.onnx');
      await writeGraph(path, classifier(), 'always');
      const [data = ''] = readdirSync(folder).filter((name) => name !== 'vit.onnx');
      const bytes = readFileSync(path, 'latin1');
      assert.ok(
        bytes.includes(data) && location.length === data.length,
        `${data} is written as it is named`,
      );
      writeFileSync(path, bytes.replaceAll(data, location), 'latin1');
      return [path, ...FLAGS];
    },
  };
}

const refusals: Refusal[] = [
  { what: 'a path that is not there', set: (folder) => [join(folder, 'gone.onnx'), ...FLAGS] },
  { what: 'a folder without a graph', set: (folder) => [folder] },
  {
    what: 'a checkpoint in the place of an export',
    set(folder) {
      writeFileSync(join(folder, 'model.safetensors'), '');
      return [folder];
    },
  },
  {
    what: 'several graphs, none called model.onnx',
    async set(folder) {
      for (const name of ['a.onnx', 'b.onnx']) writeFileSync(join(folder, name), '');
      return [folder];
    },
  },
  {
    what: 'a variant that is not there',
    set(folder) {
      writeFileSync(join(folder, 'model.onnx'), '');
      return [folder, '--variant', 'int8'];
    },
  },
  {
    what: 'a config.json that is no JSON',
    set(folder) {
      writeFileSync(join(folder, 'model.onnx'), '');
      writeFileSync(join(folder, 'config.json'), 'image_size: 224');
      return [folder];
    },
  },
  {
    what: 'a file that is no ONNX',
    set(folder) {
      writeFileSync(join(folder, 'vit.onnx'), '<!doctype html><title>Not found</title>');
      return [join(folder, 'vit.onnx'), ...FLAGS];
    },
  },
  given('a file that ends half-way', classifier, (path) => truncateSync(path, 1000)),
  externalAt('weights outside of the folder', '../../x.data!'),
  externalAt('weights in a file that is not there', 'nowhere.onnx.'),
  given(
    'a node whose input nothing makes',
    changed(({ graph }) => graph.node.splice(1, 1)),
  ),
  given('an operator that onnxruntime does not have', () =>
    classifier({ operator: { domain: 'com.example', opType: 'Sparkle' } }),
  ),
  given(
    'weights that do not fit each other',
    changed(({ graph }) => {
      const head = graph.initializer.find(({ name }) => name === 'head');
      if (head) head.dims = [4, 6];
    }),
  ),
  given('several inputs', () => classifier({ extraInput: true })),
  given(
    'text in the place of an image',
    changed(({ graph }) => {
      graph.input = [valueInfoOf('input_ids', DataType.INT64, ['batch', 'tokens'])];
      for (const node of graph.node)
        node.input = node.input.map((name) => (name === 'input' ? 'input_ids' : name));
    }),
  ),
  given('pictures in grey', () => classifier({ dims: ['batch', 1, SIDE, SIDE] })),
  given(
    'a model without its classification head',
    changed(({ graph }) => {
      graph.output = [valueInfoOf('last_hidden_state', DataType.FLOAT, ['batch', 197, 768])];
      const node = graph.node.at(-1);
      if (node) node.output = ['last_hidden_state'];
    }),
  ),
  {
    what: 'a size that nobody says',
    async set(folder) {
      await writeGraph(
        join(folder, 'vit.onnx'),
        classifier({ dims: ['batch', 3, 'height', 'width'] }),
      );
      return [join(folder, 'vit.onnx'), ...FLAGS];
    },
  },
  {
    what: 'a bare file without flags',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier({ dims: ['n', 'a', 'b', 'c'] }));
      return [join(folder, 'vit.onnx')];
    },
  },
  {
    what: 'labels that are placeholders',
    async set(folder) {
      await writeGraph(join(folder, 'model.onnx'), classifier(HF_AXES));
      const id2label = Object.fromEntries(LABELS.map((_, index) => [index, `LABEL_${index}`]));
      writeJson(join(folder, 'config.json'), { ...HF_CONFIG, id2label });
      writeJson(join(folder, 'preprocessor_config.json'), HF_PREPROCESSOR);
      return [folder];
    },
  },
  {
    what: 'too few labels',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier());
      writeFileSync(join(folder, 'labels.txt'), 'ant\nbee\n');
      return [join(folder, 'vit.onnx'), '--recipe', 'timm', '--labels', join(folder, 'labels.txt')];
    },
  },
  {
    what: 'too few labels for an output of any size',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier({ outputDims: ['batch', 'classes'] }));
      writeFileSync(join(folder, 'labels.txt'), 'ant\nbee\n');
      return [join(folder, 'vit.onnx'), '--recipe', 'timm', '--labels', join(folder, 'labels.txt')];
    },
  },
  {
    what: 'a recipe for another size',
    async set(folder) {
      await writeGraph(join(folder, 'model.onnx'), classifier());
      writeJson(join(folder, 'config.json'), HF_CONFIG);
      writeJson(join(folder, 'preprocessor_config.json'), {
        ...HF_PREPROCESSOR,
        size: { height: 224, width: 224 },
      });
      return [folder];
    },
  },
  {
    what: 'a name that can not be one',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier());
      return [join(folder, 'vit.onnx'), ...FLAGS, '--name', '../vit'];
    },
  },
  {
    what: 'a version that is there',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier());
      mkdirSync(join(folder, 'models/vit/3'), { recursive: true });
      return [join(folder, 'vit.onnx'), ...FLAGS, '--version', '3'];
    },
  },
  {
    what: 'pictures to compare that are none',
    async set(folder) {
      await writeGraph(join(folder, 'vit.onnx'), classifier());
      cpSync(join(folder, 'vit.onnx'), join(folder, 'photo.jpg'));
      return [join(folder, 'vit.onnx'), ...FLAGS, '--check-images', folder];
    },
  },
];

describe('what import rejects', () => {
  const table = new Map(
    readTable(DOCUMENT, 'What import rejects').map(([first = '', ...cells]) => [first, cells]),
  );

  for (const { what, set } of refusals) {
    test(`${what}: rejected as the document says`, async (t) => {
      const folder = temporaryFolder(t);
      const args = await set(folder);
      const { code, stdout, stderr } = await vitserve(t, [
        'import',
        ...args,
        '--model-repository',
        join(folder, 'models'),
      ]);
      assert.equal(stdout, '');
      const lines = stderr
        .trimEnd()
        .replaceAll(join(folder, 'models'), 'MODELS')
        .replaceAll(folder, 'FOLDER');
      const seen = [String(code), lines];
      assert.deepEqual(
        table.get(what),
        seen,
        `${DOCUMENT} should have the row\n${writeRow([what, ...seen])}\n`,
      );
    });
  }

  test('every row of the document is tested', () => {
    assert.deepEqual(
      [...table.keys()],
      refusals.map(({ what }) => what),
    );
  });
});
