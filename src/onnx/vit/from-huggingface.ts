/**
 * ViT and DeiT as Hugging Face transformers saves them: `config.json` and its tensors, under the
 * names of version 5.8 and before (`encoder.layer.0.attention.attention.query`) or of later ones
 * (`layers.0.attention.q_proj`), with or without the model's prefix.
 *
 * The tensors give the shapes; `config.json` gives the rest (heads, epsilon, activation), with the
 * defaults of the classes that would read it. DeiT has a distillation token; if a teacher's head is
 * on it, the answer is the mean of both heads.
 *
 * Sources: transformers `models/vit/{configuration,modeling}_vit.py`,
 * `models/deit/modeling_deit.py`.
 */
import type { ImageSize } from '../../models/recipe-sources.js';
import type { TensorSource } from '../proto/safetensors.js';
import type { Activation, Architecture, VisionTransformer, Weights } from './architecture.js';
import {
  type ExpectedTensors,
  expectDense,
  expectNorm,
  readDense,
  readNorm,
  tensorProblems,
} from './checkpoint-tensors.js';
import { ConfigReader } from './config-reader.js';

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
};

interface Names {
  readonly layer: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  readonly grow: string;
  readonly shrink: string;
}

const SCHEMES: readonly Names[] = [
  {
    layer: 'encoder.layer.',
    query: 'attention.attention.query',
    key: 'attention.attention.key',
    value: 'attention.attention.value',
    output: 'attention.output.dense',
    grow: 'intermediate.dense',
    shrink: 'output.dense',
  },
  {
    layer: 'layers.',
    query: 'attention.q_proj',
    key: 'attention.k_proj',
    value: 'attention.v_proj',
    output: 'attention.o_proj',
    grow: 'mlp.fc1',
    shrink: 'mlp.fc2',
  },
];
const PREFIXES = ['vit.', 'deit.', ''];
/** Parts for pre-training and for feature vectors, which a classifier does not use. */
const IGNORED = /(^|\.)(pooler\.|embeddings\.mask_token$|embeddings\.position_ids$|decoder\.)/;

/**
 * The model of a parsed `config.json` and its tensors. `image`: another input size than the trained
 * one, or null. Returns every problem instead if there are any.
 */
export function fromHuggingFace(
  configJson: unknown,
  source: TensorSource,
  image: ImageSize | null,
): VisionTransformer | { readonly problems: readonly string[] } {
  const config = new ConfigReader(configJson);
  const { problems } = config;
  const type = config.text('model_type', 'vit');
  if (type !== 'vit' && type !== 'deit') {
    problems.push(
      `model_type ${type} is not vit or deit: export it to ONNX and use vitserve import`,
    );
    return { problems };
  }
  const prefix = PREFIXES.find((one) => source.shapeOf(`${one}embeddings.cls_token`) !== undefined);
  const names = SCHEMES.find(
    ({ layer, query }) => source.shapeOf(`${prefix}${layer}0.${query}.weight`) !== undefined,
  );
  if (prefix === undefined || names === undefined) {
    const seen = source.names.slice(0, 3).join(', ');
    problems.push(
      `the tensors do not have the names of a ViT of transformers: ${seen || 'there are none'} …`,
    );
    return { problems };
  }
  const heads = ['classifier', 'cls_classifier', 'distillation_classifier'].filter(
    (head) => source.shapeOf(`${head}.weight`) !== undefined,
  );
  const classes = source.shapeOf(`${heads[0]}.weight`)?.[0] ?? 0;
  if (heads.length === 0)
    problems.push('it has no classifier: it was saved without its head, or never fine-tuned');

  const hidden = config.count('hidden_size', 768);
  const activation = ACTIVATIONS[config.text('hidden_act', 'gelu')];
  if (activation === undefined) {
    problems.push(
      `hidden_act ${config.text('hidden_act', '')} is not supported: use ${Object.keys(ACTIVATIONS).join(', ')}`,
    );
  }
  const channels = config.count('num_channels', 3);
  if (channels !== 3) problems.push(`num_channels is ${channels}: only 3 is supported`);
  const embeddings = `${prefix}embeddings`;
  const distilled = source.shapeOf(`${embeddings}.distillation_token`) !== undefined;
  const trained = config.size('image_size', 224);
  const architecture: Architecture = {
    hidden,
    layers: config.count('num_hidden_layers', 12),
    heads: config.count('num_attention_heads', 12),
    mlp: config.count('intermediate_size', 3072),
    patch: config.size('patch_size', 16),
    image: image ?? trained,
    classes,
    epsilon: config.positive('layer_norm_eps', 1e-12),
    activation: activation ?? 'gelu',
    prefixTokens: distilled ? 2 : 1,
    preNorm: false,
    pooling: heads.length === 2 ? 'distilled' : 'token',
    finalNorm: 'before-pooling',
    output: config.any('problem_type') === 'multi_label_classification' ? 'sigmoid' : 'softmax',
  };
  const { patch, mlp, prefixTokens } = architecture;
  const grid = {
    rows: Math.floor(trained.height / patch.height),
    columns: Math.floor(trained.width / patch.width),
  };
  const layerName = (index: number): string => `${prefix}${names.layer}${index}.`;

  const expected: ExpectedTensors = new Map([
    [`${embeddings}.cls_token`, [1, 1, hidden]],
    [`${embeddings}.position_embeddings`, [1, prefixTokens + grid.rows * grid.columns, hidden]],
  ]);
  if (distilled) expected.set(`${embeddings}.distillation_token`, [1, 1, hidden]);
  const projection = `${embeddings}.patch_embeddings.projection`;
  expectDense(expected, source, projection, [hidden, 3, patch.height, patch.width]);
  for (let index = 0; index < architecture.layers; index++) {
    const layer = layerName(index);
    for (const part of ['layernorm_before', 'layernorm_after'])
      expectNorm(expected, layer + part, hidden);
    for (const part of [names.query, names.key, names.value, names.output]) {
      expectDense(expected, source, layer + part, [hidden, hidden]);
    }
    expectDense(expected, source, layer + names.grow, [mlp, hidden]);
    expectDense(expected, source, layer + names.shrink, [hidden, mlp]);
  }
  expectNorm(expected, `${prefix}layernorm`, hidden);
  for (const head of heads) expectDense(expected, source, head, [classes, hidden]);
  problems.push(...tensorProblems(source, expected, IGNORED));
  if (problems.length > 0) return { problems };

  const split = prefixTokens * hidden;
  const dense = (name: string) => readDense(source, name);
  const weights: Weights = {
    patchProjection: () => dense(projection),
    prefix() {
      const tokens = new Float32Array(split);
      tokens.set(source.read(`${embeddings}.cls_token`));
      if (distilled) tokens.set(source.read(`${embeddings}.distillation_token`), hidden);
      return tokens;
    },
    positions() {
      const all = source.read(`${embeddings}.position_embeddings`);
      return {
        patches: all.subarray(split),
        grid,
        prefix: all.subarray(0, split),
        resampling: 'bicubic',
      };
    },
    preNorm: () => {
      throw new Error('a ViT of transformers has no norm before its encoder');
    },
    block(index) {
      const layer = layerName(index);
      return {
        attentionNorm: readNorm(source, `${layer}layernorm_before`),
        query: dense(layer + names.query),
        key: dense(layer + names.key),
        value: dense(layer + names.value),
        output: dense(layer + names.output),
        mlpNorm: readNorm(source, `${layer}layernorm_after`),
        grow: dense(layer + names.grow),
        shrink: dense(layer + names.shrink),
      };
    },
    finalNorm: () => readNorm(source, `${prefix}layernorm`),
    heads: () => heads.map(dense),
  };
  return { architecture, weights };
}
