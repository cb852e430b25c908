/**
 * The log: pino, JSON lines on standard output, or readable lines on a terminal. `log-sink.ts`
 * writes them.
 *
 * It never contains image bytes, labels of answers, secrets, or values of the environment other
 * than vitserve's own.
 */
import { type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { LogFormat, LogLevel } from '../../cli/settings.js';
import type { LogSink } from './log-sink.js';

export type { Logger };

export function createLogger(
  level: LogLevel,
  format: LogFormat,
  isTerminal: boolean,
  sink: LogSink,
): Logger {
  const isJson = format === 'json' || (format === 'auto' && !isTerminal);
  const log = isJson ? jsonLogger(level, sink) : prettyLogger(level, isTerminal, sink);
  sink.onRoomAgain((dropped) => {
    for (const [cause, lines] of dropped) log.warn({ lines, cause }, 'log lines were dropped');
  });
  return log;
}

const FORM = { base: null, formatters: { level: (label: string) => ({ level: label }) } };

function jsonLogger(level: LogLevel, sink: LogSink): Logger {
  return pino({ ...FORM, level, timestamp: pino.stdTimeFunctions.isoTime }, sink);
}

/** Formats lines itself, because pino-pretty's stream holds lines back when the process ends. */
function prettyLogger(level: LogLevel, colorize: boolean, sink: LogSink): Logger {
  const pretty = prettyFactory({ translateTime: 'SYS:HH:MM:ss.l', colorize, singleLine: true });
  return pino({ ...FORM, level }, { write: (line: string) => sink.write(pretty(line)) });
}
