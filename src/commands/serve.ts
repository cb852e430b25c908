/**
 * `vitserve serve`: settings in, a running service, signals.
 *
 * The first SIGTERM or SIGINT drains, the second one ends at once. Before the server is ready a signal ends it at once,
 * since nobody has been answered yet.
 */
import { loadServeSettings } from '../config/load.js';
import { readTracing } from '../config/tracing.js';
import { messageOf, SetupError } from '../errors.js';
import { hideMemory, keepDescriptors } from '../process/confinement.js';
import { collectLessOften } from '../process/heap.js';
import { Service } from '../service.js';
import { createLogger } from '../telemetry/log.js';

/** Signals within this time of the last one are the same wish. */
const REPEAT_MS = 500;

/** Resolves with the exit code. Throws SetupError where the settings are wrong. */
export async function serve(argv: readonly string[], environment: NodeJS.ProcessEnv, version: string): Promise<number> {
  collectLessOften();
  const { settings, changes } = loadServeSettings(argv, environment);
  const log = createLogger(settings.logLevel, settings.logFormat, process.stdout.isTTY);
  let service: Service | null = null;
  // Before the first word is said, so that whoever reads it may send a signal.
  const stopped = new Promise<number>((resolve) => {
    let firstAt = Number.NEGATIVE_INFINITY;
    const onSignal = (signal: NodeJS.Signals) => {
      // Under npm a Ctrl-C comes twice: from the terminal, which signals the whole process group, and passed on by npm.
      if (performance.now() - firstAt < REPEAT_MS) return;
      firstAt = performance.now();
      log.info({ signal }, 'signal');
      if (service?.state === 'serving') {
        service.drain().then(
          (inTime) => {
            if (!inTime) log.warn('calls that had not ended within drain-timeout were cut');
            resolve(inTime ? 0 : 1);
          },
          (error: unknown) => {
            log.error({ err: error }, 'could not stop in order');
            resolve(1);
          },
        );
      } else resolve(service === null || service.state === 'starting' ? 0 : 1);
    };
    process.on('SIGHUP', () => {
      log.info({ signal: 'SIGHUP' }, 'signal');
      void service?.reload();
    });
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });

  // Keys, tokens and images are in it, and decoders run as the same user.
  hideMemory();
  keepDescriptors();
  const set = Object.fromEntries(changes.map(({ name, value, source }) => [name, `${value} (${source})`]));
  log.info({ version, node: process.version, pid: process.pid, set }, 'vitserve');

  const { settings: tracing, problems } = readTracing(environment);
  for (const problem of problems) log.warn({ problem }, 'tracing is not set up as it was asked to be');
  service = new Service(settings, log, { version, tracing });

  const failed = service.start().then(
    () => new Promise<never>(() => {}),
    (error: unknown) => {
      if (!(error instanceof SetupError) || error.problems.length === 0) log.error({ err: error }, 'could not start');
      else for (const problem of error.problems) log.error(problem);
      return error instanceof SetupError && error.kind === 'usage' ? 2 : 1;
    },
  );
  return await Promise.race([stopped, failed]).catch((error: unknown) => {
    log.fatal(messageOf(error));
    return 1;
  });
}
