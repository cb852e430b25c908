/** The text of `vitserve inspect`: one aligned line a fact. */

import type { Manifest } from '../../models/manifest.js';
import type { Recipe } from '../../models/recipe.js';
import type { ValueDescription } from '../../onnx/graph/graph.js';
import type { ProviderFinding } from '../../workers/inference/node-providers.js';
import type { Inspected } from './read-inspected.js';

const SHOWN_LABELS = 5;
const NAME_WIDTH = 12;

type Line = readonly [name: string, text: string];

export function describeModel(
  findings: Inspected & { readonly providers: ProviderFinding[] | null },
): string {
  const {
    manifest,
    graph,
    graphPath,
    graphBytes,
    sha256,
    sha256Matches,
    model,
    problems,
    providers,
  } = findings;
  const opsets = Object.entries(graph.opsets).map(([domain, version]) => `${domain} ${version}`);
  const checked = {
    true: ', as in the manifest',
    false: ', NOT as in the manifest',
    null: '',
  };
  const operators = Object.entries(graph.operators).map(([name, count]) => `${count} ${name}`);
  const lines: Line[] = [
    ...(manifest === null ? [] : [['description', manifest.description] as const]),
    ['graph', `${graphPath}, ${megabytes(graphBytes)} MB`],
    ['sha256', `${sha256}${checked[`${sha256Matches}`]}`],
    [
      'made by',
      `${graph.producer || 'unknown'}; ${opsets.join(', ')}; IR version ${graph.irVersion}`,
    ],
    ['parameters', `${millions(graph.parameters)} million (${typesText(graph.parameterBytes)})`],
    ['work', workText(findings)],
    ...graph.inputs.map((value, at): Line => [at === 0 ? 'inputs' : '', valueText(value)]),
    ...graph.outputs.map((value, at): Line => [at === 0 ? 'outputs' : '', valueText(value)]),
    ['operators', operators.join(', ')],
    ...(manifest === null ? [] : manifestLines(manifest)),
    ...(providers ?? []).flatMap(providerLines),
    ...problems.map((problem): Line => ['PROBLEM', problem]),
  ];
  return `${model ?? graphPath}\n${lines.map(([name, text]) => `  ${name.padEnd(NAME_WIDTH)} ${text}\n`).join('')}`;
}

const BATCHES = {
  true: 'of any size: answers do not depend on the batch',
  false: 'of one image: in larger batches answers depend on the other images',
  accelerator:
    'of any size on an accelerator, where answers differ by rounding only; of one image on the CPU',
};

function manifestLines({
  labels,
  preprocessing,
  output,
  embedding,
  batchInvariant,
  license,
  provenance,
}: Manifest): Line[] {
  const shown = labels.slice(0, SHOWN_LABELS).join(', ');
  return [
    ['labels', `${labels.length}: ${shown}${labels.length > SHOWN_LABELS ? ', …' : ''}`],
    [
      'answers',
      `${output.kind}, ${output.activation}${embedding === null ? '; no embedding' : `; embedding of ${embedding.size}`}`,
    ],
    ['recipe', recipeText(preprocessing)],
    ['batches', BATCHES[`${batchInvariant}`]],
    ['licence', license],
    ...Object.entries(provenance).map(
      ([key, text], at): Line => [at === 0 ? 'provenance' : '', `${key}: ${text}`],
    ),
  ];
}

function recipeText({
  resize,
  interpolation,
  crop,
  rescale,
  mean,
  std,
  normalizedInGraph,
}: Recipe): string {
  const resized =
    resize === null
      ? 'no resizing'
      : resize.mode === 'squash'
        ? `squash to ${resize.height} × ${resize.width}, ${interpolation}`
        : `shortest edge to ${resize.size}, ${interpolation}`;
  const cropped =
    crop === null ? '' : `, centre crop ${crop.height} × ${crop.width} (${crop.rounding})`;
  const where = normalizedInGraph ? 'in the graph' : 'before the graph';
  return `${resized}${cropped}; × ${Number(rescale.toPrecision(6))}, mean ${mean.join(' ')}, std ${std.join(' ')} ${where}`;
}

function workText({ graph, manifest }: Inspected): string {
  const blind =
    graph.unknownOperators.length === 0
      ? ''
      : ` (no shape rule for ${graph.unknownOperators.join(', ')})`;
  if (graph.macs === null)
    return `unknown${blind || ': the graph leaves sizes open: give the model folder'}`;
  const open =
    manifest === null &&
    graph.inputs.some(({ dims }) =>
      dims?.some((size, axis) => axis > 0 && typeof size !== 'number'),
    );
  if (open) return 'unknown: the graph leaves the size of its input open: give the model folder';
  return `${(graph.macs / 1e9).toFixed(graph.macs < 1e9 ? 3 : 1)} GMAC per image${blind}`;
}

function providerLines({ name, problem, nodes }: ProviderFinding): Line[] {
  if (problem !== null) return [[name, `not available: ${problem}`]];
  if (nodes === null) return [[name, 'runs, but the profiler recorded no nodes']];
  const byProvider = new Map<string, number>();
  for (const { provider, count } of nodes)
    byProvider.set(provider, (byProvider.get(provider) ?? 0) + count);
  const [[main]] = [...byProvider] as [[string, number]];
  const counts = [...byProvider]
    .map(([provider, count]) => `${count} nodes on ${provider}`)
    .join(', ');
  const strays = nodes
    .filter(({ provider }) => provider !== main)
    .map(({ operator, count }) => `${count} ${operator}`);
  return [[name, `runs: ${counts}${strays.length === 0 ? '' : ` (${strays.join(', ')})`}`]];
}

function valueText({ name, typeName, dims }: ValueDescription): string {
  return `${name}: ${typeName} ${dims === null ? 'of unknown rank' : `[${dims.map((size) => size ?? '?').join(', ')}]`}`;
}

function typesText(bytes: Readonly<Record<string, number>>): string {
  return Object.entries(bytes)
    .map(([type, count]) => `${type} ${megabytes(count)} MB`)
    .join(', ');
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 2 : 1);
}

function millions(count: number): string {
  return (count / 1e6).toFixed(2);
}
