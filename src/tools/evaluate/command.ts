/**
 * `vitserve evaluate MODEL_FOLDER DATA`: how often a model is right on labelled images, through the
 * server's own decoding and sessions; with `--against`, beside another model, image by image.
 *
 * Images are decoded beside the execution of those before, a few at a time, so memory does not grow
 * with their number. A file that can't be decoded is left out and named. Exit code 1 if none is
 * left.
 */
import { loadEvaluateSettings } from '../../cli/load.js';
import { Progress } from '../../cli/progress.js';
import { messageOf } from '../../errors.js';
import { availableCores } from '../../system/cores.js';
import { type EvaluatedModel, openEvaluatedModel } from './evaluated-model.js';
import { classIndexes, type LabelledImage, labelledImages } from './labelled-images.js';
import { comparisonText, type Evaluation, textOf } from './report.js';
import { type Answer, Comparison, Tally } from './tally.js';

const MOST_SKIPPED_SHOWN = 10;

/** A model, its classes' indexes, and what it has answered so far. */
interface Candidate {
  readonly model: EvaluatedModel;
  readonly indexes: ReadonlyMap<string, number>;
  readonly tally: Tally;
}

/** An image as each candidate takes it; null: it can't be decoded. */
type Prepared = readonly Uint8Array[] | null;

export async function evaluate(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const { settings, folder, data } = loadEvaluateSettings(argv, environment);
  const images = await labelledImages(data);
  const folders = settings.against === null ? [folder] : [settings.against, folder];
  const candidates: Candidate[] = [];
  for (const each of folders) {
    const model = await openEvaluatedModel(each);
    const indexes = classIndexes(images, model.manifest.labels);
    candidates.push({ model, indexes, tally: new Tally() });
  }
  const comparison = new Comparison();
  const skipped: string[] = [];
  const progress = new Progress(images.length, process.stderr);
  let done = 0;
  for await (const [image, prepared] of prepare(images, candidates, skipped)) {
    const answers: Answer[] = [];
    for (const [at, { model, indexes, tally }] of candidates.entries()) {
      const pixels = prepared?.[at];
      if (pixels === undefined) continue;
      const truth = indexes.get(image.label) as number;
      answers.push(tally.add(truth, await model.scoresOf(pixels)));
    }
    const [one, other] = answers;
    if (one !== undefined && other !== undefined) comparison.add(one, other);
    progress.show(++done);
  }
  progress.clear();
  for (const line of skipped.slice(0, MOST_SKIPPED_SHOWN)) process.stderr.write(`${line}\n`);
  if (skipped.length > 0)
    process.stderr.write(`vitserve: left out ${skipped.length} of ${images.length} images\n`);
  if (skipped.length === images.length) return 1;

  const evaluations = candidates.map(
    ({ model, tally }): Evaluation => ({
      model: `${model.name}/${model.version}`,
      executionProvider: model.executionProvider,
      labels: model.manifest.labels,
      figures: tally.figures(),
    }),
  );
  const compared = evaluations.length === 2 ? comparison : null;
  if (settings.json) {
    const content = {
      models: evaluations,
      comparison: compared === null ? null : { ...compared, margin: compared.margin },
      skipped: skipped.length,
    };
    process.stdout.write(`${JSON.stringify(content)}\n`);
    return 0;
  }
  const classes = settings.allClasses ? 'all' : 'worst';
  const texts = evaluations.map((each, at) =>
    textOf(each, at === evaluations.length - 1 ? classes : 'none'),
  );
  if (compared !== null)
    texts.push(comparisonText(evaluations as [Evaluation, Evaluation], compared));
  process.stdout.write(texts.join('\n'));
  return 0;
}

/** In the order of the images, with as many decoded ahead as there are cores. */
async function* prepare(
  images: readonly LabelledImage[],
  candidates: readonly Candidate[],
  skipped: string[],
): AsyncGenerator<readonly [LabelledImage, Prepared]> {
  const begin = async (image: LabelledImage): Promise<Prepared> => {
    try {
      return await Promise.all(candidates.map(({ model }) => model.pixelsOf(image.path)));
    } catch (error) {
      skipped.push(`${image.path}: ${messageOf(error)}`);
      return null;
    }
  };
  const ahead: [LabelledImage, Promise<Prepared>][] = [];
  for (const image of images) {
    ahead.push([image, begin(image)]);
    if (ahead.length <= availableCores()) continue;
    const [next, prepared] = ahead.shift() as [LabelledImage, Promise<Prepared>];
    yield [next, await prepared];
  }
  for (const [next, prepared] of ahead) yield [next, await prepared];
}
