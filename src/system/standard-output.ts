/**
 * Standard output and error of the commands that print and exit.
 *
 * Node reports EPIPE as an event that ends the process with a stack trace, and `process.exit`
 * discards what a pipe has not taken yet. With this module: a reader that has gone (`| head`) ends
 * the command silently, with the code that a shell shows for SIGPIPE; any other failure of standard
 * output is reported and gives exit code 1; standard error may be closed or full, and the work goes
 * on without it; and a command exits after its output has been written.
 */
import { messageOf } from '../errors.js';

/** 128 + SIGPIPE. */
const READER_GONE = 141;
const GONE = ['EPIPE', 'ECONNRESET'];

let isGuarded = false;
let hasFailed = false;

/** Call it before anything is written. Not for a server, whose log has an output of its own. */
export function guardOutput(): void {
  if (isGuarded) return;
  isGuarded = true;
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (GONE.includes(error.code ?? '')) process.exit(READER_GONE);
    if (hasFailed) return;
    hasFailed = true;
    process.stderr.write(`vitserve: standard output can't be written (${messageOf(error)})\n`);
    void exit(1);
  });
}

/** Exits once the output has been written, or after `patienceMs`. */
export async function exit(code: number, patienceMs = Number.POSITIVE_INFINITY): Promise<never> {
  const end = () => process.exit(hasFailed ? 1 : code);
  if (Number.isFinite(patienceMs)) setTimeout(end, patienceMs);
  if (isGuarded) await Promise.all([process.stdout, process.stderr].map(taken));
  return end();
}

/** The result of a write is known one turn of the event loop later. */
async function taken(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => stream.write('', () => setImmediate(resolve)));
}
