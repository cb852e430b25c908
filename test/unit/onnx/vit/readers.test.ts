/**
 * The architecture of a checkpoint, from its config and the shapes of its tensors; no values are
 * read.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TensorSource } from '#vitserve/onnx/proto/safetensors.js';
import { fromHuggingFace } from '#vitserve/onnx/vit/from-huggingface.js';
import { fromTimm } from '#vitserve/onnx/vit/from-timm.js';

type Shapes = Record<string, readonly number[]>;

function sourceOf(shapes: Shapes): TensorSource {
  return {
    names: Object.keys(shapes),
    shapeOf: (name) => shapes[name],
    read: (name) =>
      new Float32Array((shapes[name] as number[]).reduce((product, size) => product * size, 1)),
  };
}

const dense = (name: string, outputs: number, ...inputs: number[]): Shapes => ({
  [`${name}.weight`]: [outputs, ...inputs],
  [`${name}.bias`]: [outputs],
});
const [D, MLP] = [16, 24];

function timm(changes: Shapes = {}, without: readonly string[] = []): TensorSource {
  const shapes: Shapes = {
    cls_token: [1, 1, D],
    pos_embed: [1, 5, D],
    ...dense('patch_embed.proj', D, 3, 8, 8),
    ...norm1('blocks.0.norm1'),
    ...dense('blocks.0.attn.qkv', 3 * D, D),
    ...dense('blocks.0.attn.proj', D, D),
    ...norm1('blocks.0.norm2'),
    ...dense('blocks.0.mlp.fc1', MLP, D),
    ...dense('blocks.0.mlp.fc2', D, MLP),
    ...norm1('norm'),
    ...dense('head', 4, D),
    ...changes,
  };
  return sourceOf(
    Object.fromEntries(Object.entries(shapes).filter(([name]) => !without.includes(name))),
  );
}

function norm1(name: string): Shapes {
  return { [`${name}.weight`]: [D], [`${name}.bias`]: [D] };
}

function architecture(config: object, source: TensorSource) {
  const read = fromTimm(config, source, null);
  assert.ok('architecture' in read, 'problems' in read ? read.problems.join('\n') : '');
  return read.architecture;
}

function problems(read: ReturnType<typeof fromTimm>): string {
  assert.ok('problems' in read, 'accepted');
  return read.problems.join('\n');
}

const NAMED = { architecture: 'vit_tiny_patch8_16', model_args: { num_heads: 2 } };

describe('a checkpoint of timm', () => {
  test('is described by its tensors', () => {
    assert.deepEqual(architecture(NAMED, timm()), {
      hidden: D,
      layers: 1,
      heads: 2,
      mlp: MLP,
      patch: { height: 8, width: 8 },
      image: { height: 16, width: 16 },
      classes: 4,
      epsilon: 1e-6,
      activation: 'gelu',
      prefixTokens: 1,
      preNorm: false,
      pooling: 'token',
      finalNorm: 'before-pooling',
      output: 'softmax',
    });
  });

  test('shows a distillation token, registers, norms and pooling', () => {
    const distilled = timm({
      dist_token: [1, 1, D],
      pos_embed: [1, 6, D],
      ...dense('head_dist', 4, D),
    });
    assert.deepEqual(pick(architecture(NAMED, distilled)), [
      2,
      'distilled',
      false,
      'before-pooling',
    ]);
    const registers = timm({ reg_token: [1, 4, D], pos_embed: [1, 4, D], ...norm1('norm_pre') });
    assert.deepEqual(pick(architecture(NAMED, registers)), [5, 'token', true, 'before-pooling']);
    const average = timm({ ...norm1('fc_norm'), pos_embed: [1, 4, D] }, [
      'cls_token',
      'norm.weight',
      'norm.bias',
    ]);
    assert.deepEqual(pick(architecture(NAMED, average)), [0, 'average', false, 'after-pooling']);
    assert.equal(architecture({ ...NAMED, global_pool: 'avg' }, timm()).pooling, 'average');
  });

  test('takes from its name or its arguments what tensors do not show', () => {
    const clip = architecture(
      { ...NAMED, architecture: 'vit_base_patch8_clip_quickgelu_224' },
      timm(),
    );
    assert.deepEqual([clip.epsilon, clip.activation], [1e-5, 'quick_gelu']);
    assert.equal(
      architecture({ ...NAMED, model_args: { num_heads: 4, act_layer: 'gelu_tanh' } }, timm())
        .activation,
      'gelu_tanh',
    );
    assert.equal(architecture({ architecture: 'vit_base_patch16_gap_224' }, timm()).heads, 16);
    assert.equal(architecture({ architecture: 'vit_tiny_patch8_16' }, timm()).heads, 1);
    const wide = { ...NAMED, pretrained_cfg: { input_size: [3, 8, 32] } };
    assert.deepEqual(architecture(wide, timm()).image, { height: 8, width: 32 });
  });

  test('that only looks like a ViT, or has more parts, is rejected', () => {
    assert.match(
      problems(fromTimm({ architecture: 'vit_base_patch16_rpn_224' }, timm(), null)),
      /vit_base_patch16_rpn_224/,
    );
    assert.match(problems(fromTimm({ architecture: 'swin_tiny' }, timm(), null)), /swin_tiny/);
    const normed = timm({ 'blocks.0.attn.q_norm.weight': [8] });
    assert.match(
      problems(fromTimm(NAMED, normed, null)),
      /vitserve does not know: blocks\.0\.attn\.q_norm\.weight/,
    );
    assert.match(
      problems(fromTimm({ ...NAMED, global_pool: 'map' }, timm(), null)),
      /global_pool map/,
    );
    assert.match(
      problems(fromTimm(NAMED, timm({}, ['head.weight', 'head.bias']), null)),
      /no classifier/,
    );
    assert.match(
      problems(fromTimm(NAMED, timm({ pos_embed: [1, 7, D] }), null)),
      /pos_embed is \[1, 7, 16\]/,
    );
  });
});

describe('a checkpoint of transformers', () => {
  const CONFIG = {
    ...{
      model_type: 'vit',
      hidden_size: D,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: MLP,
    },
    ...{ image_size: 16, patch_size: 8, layer_norm_eps: 1e-6 },
  };
  const layer = (prefix: string): Shapes => ({
    ...norm1(`${prefix}layers.0.layernorm_before`),
    ...dense(`${prefix}layers.0.attention.q_proj`, D, D),
    ...dense(`${prefix}layers.0.attention.k_proj`, D, D),
    ...dense(`${prefix}layers.0.attention.v_proj`, D, D),
    ...dense(`${prefix}layers.0.attention.o_proj`, D, D),
    ...norm1(`${prefix}layers.0.layernorm_after`),
    ...dense(`${prefix}layers.0.mlp.fc1`, MLP, D),
    ...dense(`${prefix}layers.0.mlp.fc2`, D, MLP),
  });
  const whole = (prefix: string): Shapes => ({
    [`${prefix}embeddings.cls_token`]: [1, 1, D],
    [`${prefix}embeddings.position_embeddings`]: [1, 5, D],
    ...dense(`${prefix}embeddings.patch_embeddings.projection`, D, 3, 8, 8),
    ...layer(prefix),
    ...norm1(`${prefix}layernorm`),
    ...dense('classifier', 4, D),
  });

  test('is described by its config, and by the shape of its classifier', () => {
    for (const prefix of ['vit.', '']) {
      const read = fromHuggingFace(CONFIG, sourceOf(whole(prefix)), null);
      assert.ok('architecture' in read, JSON.stringify(read));
      const { classes, epsilon, pooling, output } = read.architecture;
      assert.deepEqual([classes, epsilon, pooling, output], [4, 1e-6, 'token', 'softmax']);
    }
  });

  test('with parts of pre-training leaves them out; with others it is rejected', () => {
    const more = {
      ...whole('vit.'),
      ...dense('vit.pooler.dense', D, D),
      'vit.embeddings.mask_token': [1, 1, D],
    };
    assert.ok('architecture' in fromHuggingFace(CONFIG, sourceOf(more), null));
    const strange = { ...whole('vit.'), 'vit.embeddings.register_tokens': [1, 4, D] };
    assert.match(
      problems(fromHuggingFace(CONFIG, sourceOf(strange), null)),
      /vitserve does not know: vit\.embeddings\.register_tokens/,
    );
  });

  test('with several labels at once has a sigmoid', () => {
    const read = fromHuggingFace(
      { ...CONFIG, problem_type: 'multi_label_classification' },
      sourceOf(whole('vit.')),
      null,
    );
    assert.equal('architecture' in read && read.architecture.output, 'sigmoid');
  });

  test('without a head, with other names, or with a config of another kind is rejected', () => {
    const headless = Object.fromEntries(
      Object.entries(whole('vit.')).filter(([name]) => !name.startsWith('classifier')),
    );
    assert.match(problems(fromHuggingFace(CONFIG, sourceOf(headless), null)), /no classifier/);
    assert.match(
      problems(fromHuggingFace(CONFIG, sourceOf({ x: [1] }), null)),
      /do not have the names of a ViT of transformers/,
    );
    assert.match(problems(fromHuggingFace([], sourceOf(whole('vit.')), null)), /not a JSON object/);
    assert.match(
      problems(fromHuggingFace({ ...CONFIG, hidden_size: 'x' }, sourceOf(whole('')), null)),
      /hidden_size is "x"/,
    );
    assert.match(
      problems(fromHuggingFace({ ...CONFIG, num_channels: 1 }, sourceOf(whole('')), null)),
      /num_channels is 1/,
    );
  });
});

function pick({
  prefixTokens,
  pooling,
  preNorm,
  finalNorm,
}: ReturnType<typeof architecture>): unknown[] {
  return [prefixTokens, pooling, preNorm, finalNorm];
}
