/**
 * `vit_*`, `deit_*` and `deit3_*` as timm saves them: `config.json` with `architecture` and
 * `pretrained_cfg`, and its tensors. q, k and v share one tensor; layer scale is folded into the
 * layer before it; `fc_norm` is a LayerNorm behind the pooling; with `no_embed_class` the tokens
 * before the patches have no positions.
 *
 * The tensors' shapes give most of the architecture. The rest (heads, activation, epsilon) comes
 * from `model_args` if saved, otherwise from the architecture's name, as in timm itself. Models
 * with other parts (parallel blocks, attention pooling, rotary positions, SwiGLU) have other
 * tensors too, so they are rejected.
 *
 * Sources: timm `models/vision_transformer.py`, `models/deit.py`, `layers/pos_embed.py`.
 */
import type { ImageSize } from '../../models/recipe-sources.js';
import type { TensorSource } from '../proto/safetensors.js';
import type {
  Activation,
  Architecture,
  Dense,
  VisionTransformer,
  Weights,
} from './architecture.js';
import {
  type ExpectedTensors,
  expectDense,
  expectNorm,
  readDense,
  readNorm,
  tensorProblems,
} from './checkpoint-tensors.js';
import { ConfigReader } from './config-reader.js';
import { foldLayerScale } from './fold.js';

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_tanh: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  quickgelu: 'quick_gelu',
};
/**
 * Heads by hidden size, where a head has not 64 values: so400m, huge, giant, gigantic; the small
 * ones of tests.
 */
const HEADS: Readonly<Record<number, number>> = {
  64: 2,
  96: 3,
  1152: 16,
  1280: 16,
  1408: 16,
  1664: 16,
};
/** Architectures that follow neither rule. */
const OWN_HEADS: Readonly<Record<string, number>> = { vit_base_patch16_gap_224: 16 };
/** Variants whose tensors look like those of a plain ViT but which compute something else. */
const LOOKALIKES = /_(rpn|siglip|siglip2|xp)(_|$)|^naflex/;

/** As `fromHuggingFace`, for a `config.json` of timm. */
export function fromTimm(
  configJson: unknown,
  source: TensorSource,
  image: ImageSize | null,
): VisionTransformer | { readonly problems: readonly string[] } {
  const config = new ConfigReader(configJson);
  const { problems } = config;
  const name = config.text('architecture', '');
  const args = new ConfigReader(config.object('model_args'));
  const pretrained = config.object('pretrained_cfg');
  if (!/^(vit|deit|deit3|test_vit)\d?_?/.test(name) || LOOKALIKES.test(name)) {
    problems.push(
      `architecture ${name} is not one of vit_*, deit_*, deit3_*: ` +
        'export it to ONNX and use vitserve import',
    );
  }
  const patchShape = source.shapeOf('patch_embed.proj.weight');
  const positionShape = source.shapeOf('pos_embed');
  if (patchShape === undefined || patchShape.length !== 4 || positionShape === undefined) {
    problems.push(
      'the tensors are not those of a ViT of timm: patch_embed.proj.weight and pos_embed are missing',
    );
    return { problems };
  }
  const [hidden = 0, , patchHeight = 0, patchWidth = 0] = patchShape;
  const has = (tensor: string): boolean => source.shapeOf(tensor) !== undefined;
  const distilled = has('dist_token');
  const registers = source.shapeOf('reg_token')?.[1] ?? 0;
  const hasClass = has('cls_token');
  const prefixTokens = Number(hasClass) + Number(distilled) + registers;
  const trained = trainedSize(pretrained.input_size, args.any('img_size'));
  const grid = gridFor(positionShape[1] ?? 0, prefixTokens, trained, {
    height: patchHeight,
    width: patchWidth,
  });
  const classes = source.shapeOf('head.weight')?.[0] ?? 0;
  if (classes === 0) problems.push('it has no classifier (head): it was saved without one');

  const pooling = args.text('global_pool', config.text('global_pool', hasClass ? 'token' : 'avg'));
  if (pooling !== 'token' && pooling !== 'avg')
    problems.push(`global_pool ${pooling} is not supported: use token or avg`);
  const written = args.text('act_layer', name.includes('quickgelu') ? 'quick_gelu' : 'gelu');
  const activation = ACTIVATIONS[written];
  if (activation === undefined)
    problems.push(
      `act_layer ${written} is not supported: use ${Object.keys(ACTIVATIONS).join(', ')}`,
    );
  const layers = Array.from(source.names).filter((tensor) =>
    /^blocks\.\d+\.norm1\.weight$/.test(tensor),
  ).length;
  const usual = OWN_HEADS[name] ?? HEADS[hidden] ?? Math.max(1, Math.round(hidden / 64));
  const architecture: Architecture = {
    hidden,
    layers,
    heads: args.count('num_heads', usual),
    mlp: source.shapeOf('blocks.0.mlp.fc1.weight')?.[0] ?? 0,
    patch: { height: patchHeight, width: patchWidth },
    image: image ?? { height: grid.rows * patchHeight, width: grid.columns * patchWidth },
    classes,
    epsilon: /_clip_/.test(name) ? 1e-5 : 1e-6,
    activation: activation ?? 'gelu',
    prefixTokens,
    preNorm: has('norm_pre.weight'),
    pooling: distilled ? 'distilled' : pooling === 'avg' ? 'average' : 'token',
    finalNorm: has('fc_norm.weight') ? 'after-pooling' : 'before-pooling',
    output: 'softmax',
  };
  const embedsPrefix = (positionShape[1] ?? 0) !== grid.rows * grid.columns;
  const norm = architecture.finalNorm === 'after-pooling' ? 'fc_norm' : 'norm';
  const scaled = has('blocks.0.ls1.gamma');
  const tokens: [name: string, count: number][] = [];
  if (hasClass) tokens.push(['cls_token', 1]);
  if (distilled) tokens.push(['dist_token', 1]);
  if (registers > 0) tokens.push(['reg_token', registers]);
  const heads = distilled ? ['head', 'head_dist'] : ['head'];

  const positions = grid.rows * grid.columns + (embedsPrefix ? prefixTokens : 0);
  const expected: ExpectedTensors = new Map([['pos_embed', [1, positions, hidden]]]);
  for (const [token, count] of tokens) expected.set(token, [1, count, hidden]);
  expectDense(expected, source, 'patch_embed.proj', [hidden, 3, patchHeight, patchWidth]);
  if (architecture.preNorm) expectNorm(expected, 'norm_pre', hidden);
  for (let index = 0; index < layers; index++) {
    const block = `blocks.${index}.`;
    for (const part of ['norm1', 'norm2']) expectNorm(expected, block + part, hidden);
    expectDense(expected, source, `${block}attn.qkv`, [3 * hidden, hidden]);
    expectDense(expected, source, `${block}attn.proj`, [hidden, hidden]);
    expectDense(expected, source, `${block}mlp.fc1`, [architecture.mlp, hidden]);
    expectDense(expected, source, `${block}mlp.fc2`, [hidden, architecture.mlp]);
    if (scaled) for (const part of ['ls1', 'ls2']) expected.set(`${block}${part}.gamma`, [hidden]);
  }
  expectNorm(expected, norm, hidden);
  for (const head of heads) expectDense(expected, source, head, [classes, hidden]);
  problems.push(...args.problems, ...tensorProblems(source, expected, /^attn_mask$/));
  if (problems.length > 0) return { problems };

  const layerScaled = (layer: string, scale: string): Dense => {
    const dense = readDense(source, layer);
    return scaled ? foldLayerScale(dense, source.read(`${scale}.gamma`)) : dense;
  };
  const weights: Weights = {
    patchProjection: () => readDense(source, 'patch_embed.proj'),
    prefix() {
      const values = new Float32Array(prefixTokens * hidden);
      let offset = 0;
      for (const [token, count] of tokens) {
        values.set(source.read(token), offset);
        offset += count * hidden;
      }
      return values;
    },
    positions() {
      const all = source.read('pos_embed');
      const split = embedsPrefix ? prefixTokens * hidden : 0;
      const prefix = embedsPrefix ? all.subarray(0, split) : null;
      return { patches: all.subarray(split), grid, prefix, resampling: 'bicubic-antialias' };
    },
    preNorm: () => readNorm(source, 'norm_pre'),
    block(index) {
      const block = `blocks.${index}.`;
      const { weight, bias } = readDense(source, `${block}attn.qkv`);
      const third = (part: number): Dense => ({
        weight: weight.subarray(part * hidden * hidden, (part + 1) * hidden * hidden),
        bias: bias?.subarray(part * hidden, (part + 1) * hidden) ?? null,
      });
      return {
        attentionNorm: readNorm(source, `${block}norm1`),
        query: third(0),
        key: third(1),
        value: third(2),
        output: layerScaled(`${block}attn.proj`, `${block}ls1`),
        mlpNorm: readNorm(source, `${block}norm2`),
        grow: readDense(source, `${block}mlp.fc1`),
        shrink: layerScaled(`${block}mlp.fc2`, `${block}ls2`),
      };
    },
    finalNorm: () => readNorm(source, norm),
    heads: () => heads.map((head) => readDense(source, head)),
  };
  return { architecture, weights };
}

/** The input size that the positions were trained for, as far as the config says it. */
function trainedSize(inputSize: unknown, imageSize: unknown): ImageSize | null {
  const pair = imageSize ?? (Array.isArray(inputSize) ? inputSize.slice(1) : undefined);
  if (typeof pair === 'number') return { height: pair, width: pair };
  const [height, width]: readonly unknown[] = Array.isArray(pair) ? pair : [];
  return typeof height === 'number' && typeof width === 'number' ? { height, width } : null;
}

/**
 * The grid of `count` positions, with or without the prefix: the trained size's if it fits, else a
 * square.
 */
function gridFor(
  count: number,
  prefixTokens: number,
  trained: ImageSize | null,
  patch: ImageSize,
): {
  readonly rows: number;
  readonly columns: number;
} {
  if (trained !== null) {
    const rows = Math.floor(trained.height / patch.height);
    const columns = Math.floor(trained.width / patch.width);
    if (rows * columns === count || rows * columns + prefixTokens === count)
      return { rows, columns };
  }
  const side = Math.floor(Math.sqrt(count));
  return { rows: side, columns: side };
}
