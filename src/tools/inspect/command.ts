/**
 * `vitserve inspect MODEL_FOLDER|FILE`: describes a model, for people or (with --json) as one JSON
 * object; with --live, what a running server does.
 *
 * A broken model is described as far as possible, with its problems; the exit code is then 1.
 */
import { loadInspectSettings } from '../../cli/load.js';
import { findNodeProviders } from '../../workers/inference/node-providers.js';
import { describeModel } from './describe-model.js';
import { describeLive, readLive } from './live.js';
import { readInspected } from './read-inspected.js';
import { sampleInput } from './sample-input.js';

export async function inspect(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const { settings, path } = loadInspectSettings(argv, environment);
  const { json, httpAddress } = settings;
  const print = <Found>(found: Found, describe: (found: Found) => string) =>
    process.stdout.write(json ? `${JSON.stringify(found, null, 2)}\n` : describe(found));
  if (path === null) {
    print(await readLive(httpAddress), describeLive);
    return 0;
  }
  const inspected = await readInspected(path);
  const problems = [...inspected.problems];
  let providers: Awaited<ReturnType<typeof findNodeProviders>> | null = null;
  if (settings.providers) {
    const sample = sampleInput(inspected);
    if (typeof sample === 'string') problems.push(sample);
    else providers = await findNodeProviders(inspected.graphPath, sample);
  }
  print({ ...inspected, problems, providers }, describeModel);
  return problems.length === 0 ? 0 : 1;
}
