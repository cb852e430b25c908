/**
 * `vitserve classify FILE…`: asks a running server for the labels of image files.
 *
 * Answers go to standard output in the order of the files, for people or (with --json) as one JSON
 * object a line; errors of single files and the progress bar go to standard error. If no connection
 * succeeds, the remaining files are not sent. Exit code 1 if any file has no answer.
 */
import { readFile } from 'node:fs/promises';
import { loadClassifySettings } from '../../cli/load.js';
import { Progress } from '../../cli/progress.js';
import type { ClassifySettings } from '../../cli/settings.js';
import { formatAddress } from '../../cli/value-types.js';
import type { ClassifyResponse__Output } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import { messageOf } from '../../errors.js';
import { VitserveClient, VitserveError } from '../client.js';
import { clientOptions } from '../client-options.js';

interface Failure {
  readonly code: string;
  readonly reason: string;
  readonly message: string;
}

type Outcome = { readonly file: string } & (
  | { readonly response: ClassifyResponse__Output }
  | { readonly error: Failure }
);

/** Width of the longest bar of a score, in characters. */
const BAR_WIDTH = 24;

export async function classify(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const { settings, files } = loadClassifySettings(argv, environment);
  const client = new VitserveClient(formatAddress(settings.address), await clientOptions(settings));
  const progress = new Progress(files.length, process.stderr);
  const outcomes = new Map<number, Outcome>();
  let failures = 0;
  let printed = 0;
  let next = 0;
  let unreachable: Failure | null = null;
  let unsent = 0;

  const printReady = () => {
    for (
      let outcome = outcomes.get(printed);
      outcome !== undefined;
      outcome = outcomes.get(++printed)
    ) {
      outcomes.delete(printed);
      progress.clear();
      if (settings.json) process.stdout.write(`${JSON.stringify(toJson(outcome))}\n`);
      else if ('error' in outcome)
        process.stderr.write(`${outcome.file}: ${outcome.error.message}\n`);
      else process.stdout.write(toText(outcome.file, outcome.response));
    }
    progress.show(printed);
  };
  const worker = async () => {
    while (next < files.length) {
      const index = next++;
      const file = files[index] as string;
      if (unreachable !== null && !settings.json) {
        unsent++;
        continue;
      }
      const outcome: Outcome =
        unreachable === null
          ? await classifyFile(client, file, settings)
          : { file, error: unreachable };
      if ('error' in outcome) {
        failures++;
        if (hasNoConnection(outcome.error)) unreachable = outcome.error;
      }
      outcomes.set(index, outcome);
      printReady();
    }
  };
  await Promise.all(Array.from({ length: Math.min(settings.concurrency, files.length) }, worker));
  progress.clear();
  if (unsent > 0) process.stderr.write(`${unsent} more files not sent\n`);
  client.close();
  return failures === 0 ? 0 : 1;
}

async function classifyFile(
  client: VitserveClient,
  file: string,
  { address, model, topK, timeoutMs }: ClassifySettings,
): Promise<Outcome> {
  try {
    const image = await readFile(file);
    return { file, response: await client.classify({ image, model, topK }, { timeoutMs }) };
  } catch (error) {
    const { code, reason } = error instanceof VitserveError ? error : { code: '', reason: '' };
    let message = messageOf(error);
    if (hasNoConnection({ code, reason })) {
      const why = CONNECTION_ERROR.exec(message)?.[1] ?? message;
      message = `can't connect to ${formatAddress(address)}: ${why} (start a server with "vitserve serve")`;
    } else if (code === 'DEADLINE_EXCEEDED' && reason === '')
      message = `no answer within ${timeoutMs} ms (--timeout)`;
    return { file, error: { code, reason, message } };
  }
}

/** The text of the operating system or TLS within grpc-js's message. */
const CONNECTION_ERROR = /Last error: Error: (.+?)\.(?: Resolution note:|$)/;

/** Whether the server was unreachable: its own errors have a reason. */
function hasNoConnection({ code, reason }: Pick<Failure, 'code' | 'reason'>): boolean {
  return code === 'UNAVAILABLE' && reason === '';
}

function toText(file: string, { predictions, model, timing }: ClassifyResponse__Output): string {
  const widest = Math.max(0, ...predictions.map(({ label }) => label.length));
  const lines = predictions.map(({ label, score }) => {
    const bar = '█'.repeat(Math.round(score * BAR_WIDTH));
    return `  ${label.padEnd(widest)}  ${(score * 100).toFixed(1).padStart(5)} %  ${bar}`.trimEnd();
  });
  const milliseconds = [timing?.decode, timing?.queue, timing?.inference].map((duration) =>
    (Number(duration?.seconds ?? 0) * 1000 + (duration?.nanos ?? 0) / 1e6).toFixed(1),
  );
  const [decode, queue, inference] = milliseconds;
  const by = `${model?.name}/${model?.version} on ${model?.executionProvider}`;
  return `${file}  (${by}; decode ${decode} ms, queue ${queue} ms, inference ${inference} ms)\n${lines.join('\n')}\n`;
}

function toJson(outcome: Outcome): unknown {
  if ('error' in outcome) return outcome;
  const { predictions, model, timing } = outcome.response;
  return { file: outcome.file, predictions, model, timing };
}
