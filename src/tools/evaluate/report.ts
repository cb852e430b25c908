/** The figures of `vitserve evaluate`, for people. */
import { type ClassFigures, type Comparison, type Figures, marginOf } from './tally.js';

export interface Evaluation {
  /** NAME/VERSION. */
  readonly model: string;
  readonly executionProvider: string;
  readonly labels: readonly string[];
  readonly figures: Figures;
}

/** Up to so many classes are all shown. */
const FEW_CLASSES = 30;
const WORST_CLASSES = 20;
const CONFUSIONS = 3;

/** `show`: which classes get a row of their own. */
export function textOf(evaluation: Evaluation, show: 'none' | 'worst' | 'all'): string {
  const { model, executionProvider, labels, figures } = evaluation;
  const { images, right, rightInFive, loss, confidence, calibrationError, classes } = figures;
  const margin = percent(marginOf(right / images, images));
  const lines = [
    `${model} on ${images} images of ${classes.length} classes (${executionProvider})`,
    `  top-1        ${percent(right / images)} (± ${margin})`,
    ...(labels.length > 5 ? [`  top-5        ${percent(rightInFive / images)}`] : []),
    `  loss         ${loss.toFixed(4)}`,
    `  confidence   ${percent(confidence)}, calibration error ${percent(calibrationError)}`,
    ...(show === 'none' ? [] : ['', ...classLines(classes, labels, show === 'all')]),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

export function comparisonText(
  [before, after]: readonly [Evaluation, Evaluation],
  comparison: Comparison,
): string {
  const { images, sameFirst, onlyOne, onlyOther, margin } = comparison;
  const difference = (onlyOther - onlyOne) / images;
  const sign = difference < 0 ? '−' : '+';
  const points = `${sign}${inHundred(Math.abs(difference))} points (± ${inHundred(margin)})`;
  const lines = [
    `${after.model} against ${before.model}`,
    `  top-1        ${points}`,
    `  same class first in ${percent(sameFirst / images)} of the images`,
    `  right only in ${before.model}: ${onlyOne}; only in ${after.model}: ${onlyOther}`,
  ];
  return lines.map((line) => `${line}\n`).join('');
}

function classLines(
  classes: readonly ClassFigures[],
  labels: readonly string[],
  all: boolean,
): string[] {
  const share = ({ right, images }: ClassFigures) => right / images;
  const isShort = !all && classes.length > FEW_CLASSES;
  const shown = isShort
    ? [...classes].sort((one, other) => share(one) - share(other)).slice(0, WORST_CLASSES)
    : classes;
  const nameOf = (index: number) => printable(labels[index] ?? String(index));
  const width = Math.max(...shown.map(({ index }) => nameOf(index).length), 'class'.length);
  const heading = `  ${'class'.padEnd(width)}  images    right  taken for`;
  const rows = shown.map((each) => {
    const others = each.takenFor
      .slice(0, CONFUSIONS)
      .map(({ index, images }) => `${nameOf(index)} ${percent(images / each.images)}`);
    const name = nameOf(each.index).padEnd(width);
    const images = String(each.images).padStart(6);
    return `  ${name}  ${images}  ${percent(share(each)).padStart(7)}  ${others.join(', ')}`.trimEnd();
  });
  return isShort
    ? [heading, ...rows, `  the ${WORST_CLASSES} worst; --all-classes prints all`]
    : [heading, ...rows];
}

/** A label may hold anything; control characters never reach a terminal. */
function printable(label: string): string {
  return label.replace(/\p{Cc}/gu, '?');
}

function percent(share: number): string {
  return `${inHundred(share)} %`;
}

function inHundred(share: number): string {
  return (share * 100).toFixed(2);
}
