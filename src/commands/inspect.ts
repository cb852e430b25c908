/**
 * `vitserve inspect MODEL_FOLDER|FILE`: what a model is, for people or (with --json) as one JSON object.
 *
 * A model that is broken is described as far as it goes, with its problems; the exit code is 1 then.
 */
import { loadInspectSettings } from '../config/load.js';
import { findNodeProviders } from '../inference/node-providers.js';
import { describeModel } from './inspecting/describe-model.js';
import { readInspected } from './inspecting/read-inspected.js';
import { sampleInput } from './inspecting/sample-input.js';

export async function inspect(argv: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const { settings, path } = loadInspectSettings(argv, environment);
  const inspected = await readInspected(path);
  const problems = [...inspected.problems];
  let providers: Awaited<ReturnType<typeof findNodeProviders>> | null = null;
  if (settings.providers) {
    const sample = sampleInput(inspected);
    if (typeof sample === 'string') problems.push(sample);
    else providers = await findNodeProviders(inspected.graphPath, sample);
  }
  const findings = { ...inspected, problems, providers };
  process.stdout.write(settings.json ? `${JSON.stringify(findings, null, 2)}\n` : describeModel(findings));
  return problems.length === 0 ? 0 : 1;
}
