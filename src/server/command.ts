/**
 * `vitserve serve`: settings in, a running service, signals.
 *
 * The first SIGTERM or SIGINT drains, the second one ends at once. Before the server is ready a
 * signal ends it at once, because there are no calls to answer. However it ends, it first writes
 * out the log, for LAST_WORDS_MS at most.
 */
import { isatty } from 'node:tty';
import { loadServeSettings } from '../cli/load.js';
import { readTracing } from '../cli/tracing.js';
import { systemClock } from '../clock.js';
import { SERVICE_NAME } from '../contract/contract.js';
import { messageOf, SetupError } from '../errors.js';
import { openFilesShortage } from '../system/open-files.js';
import { outputTo } from '../system/output.js';
import { limitProblem } from '../system/system-errors.js';
import { hideMemory, keepDescriptors } from '../workers/process/sandbox.js';
import { Service } from './service.js';
import { createLogger, type Logger } from './telemetry/log.js';
import { LogSink } from './telemetry/log-sink.js';
import { Telemetry } from './telemetry/telemetry.js';
import { collectLessOften } from './workarounds/gc-tuning.js';

/** Signals within this time of the last one count as one. */
const REPEAT_MS = 500;
/** For a full output. */
const LAST_WORDS_MS = 1_000;

/** Resolves with the exit code. Throws SetupError where the settings are wrong. */
export async function serve(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  version: string,
): Promise<number> {
  collectLessOften();
  const { settings, changes } = loadServeSettings(argv, environment);
  const sink = new LogSink(outputTo(1), systemClock);
  const log = createLogger(settings.logLevel, settings.logFormat, isatty(1), sink);
  takeOverWarnings(log);
  // Node would write it to standard error, and block while that is not read.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'unexpected error: the server ends');
    void sink.flush(LAST_WORDS_MS).then(() => process.exit(1));
  });

  let service: Service | null = null;
  // Before the first log line: who reads that may send a signal.
  const stopped = new Promise<number>((resolve) => {
    let firstAt = Number.NEGATIVE_INFINITY;
    const onSignal = (signal: NodeJS.Signals) => {
      // Under npm a Ctrl-C arrives twice: the terminal signals the whole process group, and npm
      // passes it on.
      if (performance.now() - firstAt < REPEAT_MS) return;
      firstAt = performance.now();
      log.info({ signal }, 'signal');
      if (service?.state === 'serving') {
        service.drain().then(
          (inTime) => {
            if (!inTime) log.warn('calls that had not ended within drain-timeout were aborted');
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

  // It holds keys, tokens and images, and decoders run as the same user.
  hideMemory();
  keepDescriptors();
  const set = Object.fromEntries(
    changes.map(({ name, value, source }) => [name, `${value} (${source})`]),
  );
  log.info({ version, node: process.version, pid: process.pid, set }, 'vitserve');

  const { settings: tracing, problems: tracingProblems } = readTracing(environment);
  for (const problem of tracingProblems)
    log.warn({ problem }, 'tracing is not set up as it was asked to be');
  const telemetry = await Telemetry.open(
    {
      log,
      clock: systemClock,
      logSample: settings.logSample,
      service: SERVICE_NAME,
      droppedLogLines: sink.dropped,
    },
    tracing,
    version,
  );
  service = new Service(settings, log, telemetry);

  let problems: readonly string[] = [];
  const failed = service.start().then(
    () => {
      const shortage = openFilesShortage(settings.maxConnections);
      if (shortage !== null)
        log.warn({ ...shortage }, 'the limit of open files is too low for max-connections');
      return new Promise<never>(() => {});
    },
    (error: unknown) => {
      const limit = limitProblem(error);
      problems = error instanceof SetupError ? error.problems : [limit ?? messageOf(error)];
      if ((error instanceof SetupError && problems.length > 0) || limit !== null) {
        for (const problem of problems) log.error(problem);
      } else log.error({ err: error }, 'could not start');
      return error instanceof SetupError && error.kind === 'usage' ? 2 : 1;
    },
  );
  const code = await Promise.race([stopped, failed]).catch((error: unknown) => {
    log.fatal(messageOf(error));
    return 1;
  });
  // Where the log cannot be written, the problems of the start go to standard error.
  if (!(await sink.flush(LAST_WORDS_MS)) && problems.length > 0)
    throw new SetupError(code === 2 ? 'usage' : 'environment', problems);
  return code;
}

/** Logs the warnings of Node, which would otherwise go to standard error. */
function takeOverWarnings(log: Logger): void {
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) =>
    log.warn({ detail: `${name}: ${message}` }, 'warning of Node.js'),
  );
}
