/**
 * What `config.json` says about a model, written by Hugging Face (transformers
 * `configuration_utils.py`) or timm (`models/_hub.py`, `push_to_hf_hub`). Null stands for missing
 * values, and for values of an unexpected kind, because the file describes more than is read here.
 */

export interface Size {
  readonly height: number;
  readonly width: number;
}

export interface SourceConfig {
  readonly library: 'hugging-face' | 'timm';
  /** `ViTForImageClassification`, `vit_base_patch16_224`. */
  readonly architecture: string | null;
  readonly imageSize: Size | null;
  /** In the order of the classes; placeholders such as `LABEL_0` do not count as labels. */
  readonly labels: readonly string[] | null;
  /** From transformers' `problem_type`; null if it is absent. */
  readonly activation: 'softmax' | 'sigmoid' | null;
  /** timm's recipe, for `recipeFromTimm`. */
  readonly pretrainedCfg: JsonObject | null;
  readonly license: string | null;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** Null if the file does not describe a model: any folder may have a `config.json`. */
export function readSourceConfig(json: unknown): SourceConfig | null {
  const config = asObject(json);
  if (config === null) return null;
  const pretrained = asObject(config.pretrained_cfg);
  if (pretrained !== null) return readTimm(config, pretrained);
  const known = ['architectures', 'model_type', 'id2label', 'image_size'].some(
    (key) => key in config,
  );
  return known ? readHuggingFace(config) : null;
}

function readHuggingFace(config: JsonObject): SourceConfig {
  const [architecture] = Array.isArray(config.architectures)
    ? (config.architectures as unknown[])
    : [];
  const { problem_type: problem } = config;
  return {
    library: 'hugging-face',
    architecture: asText(architecture) ?? asText(config.model_type),
    imageSize: asSize(config.image_size),
    labels: labelsByIndex(config.id2label),
    activation: problem === 'multi_label_classification' ? 'sigmoid' : 'softmax',
    pretrainedCfg: null,
    license: null,
  };
}

/** timm writes `label_names` (often WordNet ids) and may explain them in `label_descriptions`. */
function readTimm(config: JsonObject, pretrained: JsonObject): SourceConfig {
  const [, height, width] = Array.isArray(pretrained.input_size)
    ? (pretrained.input_size as unknown[])
    : [];
  const names = asTexts(config.label_names) ?? asTexts(pretrained.label_names);
  const explained =
    asObject(config.label_descriptions) ?? asObject(pretrained.label_descriptions) ?? {};
  return {
    library: 'timm',
    architecture: asText(config.architecture) ?? asText(pretrained.architecture),
    imageSize: asSize([height, width]),
    labels: names?.map((name) => asText(explained[name]) ?? name) ?? null,
    activation: 'softmax',
    pretrainedCfg: pretrained,
    license: asText(pretrained.license),
  };
}

/**
 * `{"0": "tench", …}` in order; null if an index is missing or the labels are transformers' own
 * placeholders.
 */
export function labelsByIndex(value: unknown): string[] | null {
  const byIndex = asObject(value);
  if (byIndex === null) return null;
  const labels = Object.keys(byIndex).map((_, index) => asText(byIndex[String(index)]));
  if (labels.length === 0 || labels.some((label) => label === null)) return null;
  const texts = labels as string[];
  return texts.every((label, index) => label === `LABEL_${index}`) ? null : texts;
}

/** A number is square; a pair is height, width, as in transformers and timm. */
function asSize(value: unknown): Size | null {
  const pair: unknown[] = Array.isArray(value) ? value : [value, value];
  const [height, width] = pair;
  const isSide = (side: unknown): side is number => Number.isInteger(side) && (side as number) > 0;
  return pair.length === 2 && isSide(height) && isSide(width) ? { height, width } : null;
}

export function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : null;
}

function asText(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function asTexts(value: unknown): string[] | null {
  const texts = Array.isArray(value) ? value.map(asText) : [];
  return texts.length > 0 && texts.every((text) => text !== null) ? texts : null;
}

/**
 * The licence in the front matter of a Hugging Face model card (`license: apache-2.0` between two
 * lines of dashes).
 */
export function licenseOfCard(text: string): string | null {
  const [, matter] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(text) ?? [];
  const [, license] = /^license:\s*['"]?([^'"\r\n]+?)['"]?\s*$/m.exec(matter ?? '') ?? [];
  return license ?? null;
}
