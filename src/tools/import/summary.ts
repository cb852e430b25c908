/**
 * The output of `vitserve import`: one aligned line a finding, then notes, then what to do next.
 */
import type { Manifest } from '../../models/manifest.js';
import type { Recipe } from '../../models/recipe.js';
import { describeValue, type GraphView } from '../../models/sources/graph-view.js';
import type { RecognizedModel } from '../../models/sources/recognize.js';
import type { Comparison } from './self-check.js';
import type { ServingForm } from './serving-form.js';

const SHOWN_LABELS = 3;
const NAME_WIDTH = 12;

export interface Findings {
  readonly source: string;
  readonly producer: string;
  readonly opset: string;
  readonly graph: GraphView;
  readonly recognized: RecognizedModel;
  readonly form: ServingForm;
  readonly manifest: Manifest;
  readonly comparison: Comparison;
  /** How far an image's probabilities may differ from those in a batch: 0 is bit by bit. */
  readonly batchTolerance: number;
}

export function summarize(findings: Findings): string {
  const { source, producer, opset, graph, recognized, form, manifest, comparison } = findings;
  const { input, output, labels, labelsFrom, recipe, recipeFrom } = recognized;
  const found = graph.inputs.find(({ name }) => name === input.name);
  const { images, maxDifference, sameTop1 } = comparison;
  const lines: [name: string, text: string][] = [
    ['graph', `${source} (${[producer, opset].filter((text) => text !== '').join(', ')})`],
    [
      'input',
      `${input.name}: ${found === undefined ? '' : describeValue(found)}; served as ${form.feeding}`,
    ],
    ['output', `${output.name}: ${labels.length} classes, ${activationText(recognized)}`],
    [
      'labels',
      `${labels.slice(0, SHOWN_LABELS).join(', ')}${labels.length > SHOWN_LABELS ? ', …' : ''} (${labelsFrom})`,
    ],
    ['recipe', `${recipeText(recipe)} (${recipeFrom})`],
    ['embedding', manifest.embedding === null ? 'none' : `${manifest.embedding.size} values`],
    ['batches', batchText(findings)],
    [
      'self-check',
      `${images} images: probabilities differ by at most ${small(maxDifference)}, top-1 is the same in ${sameTop1}`,
    ],
  ];
  return lines.map(([name, text]) => `  ${name.padEnd(NAME_WIDTH)}${text}\n`).join('');
}

function activationText({ output: { kind, activation, activationFrom } }: RecognizedModel): string {
  if (activation === 'none') return `taken as probabilities (${activationFrom})`;
  return kind === 'probabilities'
    ? `${activation} in the graph (${activationFrom})`
    : `${activation} (${activationFrom})`;
}

function recipeText({ resize, interpolation, crop, mean, std }: Recipe): string {
  const steps = [];
  if (resize?.mode === 'squash')
    steps.push(`resize to ${resize.height} × ${resize.width}, ${interpolation}`);
  if (resize?.mode === 'shortest-edge')
    steps.push(`shortest edge to ${resize.size}, ${interpolation}`);
  if (crop !== null) steps.push(`crop ${crop.height} × ${crop.width}`);
  return [...steps, `mean ${mean.join(' ')}`, `std ${std.join(' ')}`].join(', ');
}

function batchText({ manifest, form: { fixedBatch }, batchTolerance }: Findings): string {
  if (manifest.batchInvariant === true) return 'answers are the same in any batch';
  if (manifest.batchInvariant === 'accelerator') {
    return `answers are the same in any batch to within ${batchTolerance}; on the CPU images run one by one`;
  }
  return fixedBatch === null
    ? 'answers depend on the batch, so images run one by one'
    : `of ${fixedBatch} only, so images run one by one`;
}

export function small(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}
