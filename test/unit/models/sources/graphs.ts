/** Graphs as recognition sees them: an ordinary classifier, with whatever a test changes. */
import type { GraphView, ValueView } from '#vitserve/models/sources/graph-view.js';
import type { RecognitionFlags } from '#vitserve/models/sources/recognize.js';

export function value(name: string, dims: ValueView['dims'], typeName = 'float32'): ValueView {
  return { name, typeName, dims };
}

export const PIXELS = value('input', ['batch', 3, 224, 224]);
export const LOGITS = value('output', ['batch', 3]);

export function graph(changes: Partial<GraphView> = {}): GraphView {
  return {
    inputs: [PIXELS],
    outputs: [LOGITS],
    lastOperators: new Map([['output', 'Gemm']]),
    operators: new Set(['Conv', 'Gemm']),
    weightTypes: new Set(['float32']),
    ...changes,
  };
}

export const NO_FLAGS: RecognitionFlags = {
  layout: null,
  inputSize: null,
  output: null,
  activation: null,
  labels: null,
  recipe: null,
  mean: null,
  std: null,
};

/** The `config.json` of a Hugging Face model with three classes. */
export const HF_CONFIG = {
  architectures: ['ViTForImageClassification'],
  model_type: 'vit',
  image_size: 224,
  id2label: { 0: 'ant', 1: 'bee', 2: 'cat' },
};

/** The `preprocessor_config.json` of a Hugging Face model. */
export const HF_PREPROCESSOR = {
  image_processor_type: 'ViTImageProcessor',
  do_resize: true,
  size: { height: 224, width: 224 },
  resample: 2,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

export const TIMM_CONFIG = {
  architecture: 'vit_tiny_patch16_224',
  num_classes: 3,
  label_names: ['n1', 'n2', 'n3'],
  label_descriptions: { n1: 'ant', n3: 'cat' },
  pretrained_cfg: {
    input_size: [3, 224, 224],
    crop_pct: 0.9,
    interpolation: 'bicubic',
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
    license: 'apache-2.0',
  },
};
