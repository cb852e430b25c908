/**
 * The log: pino, JSON lines on standard output, or readable lines where a person watches.
 *
 * What never stands in it: image bytes, labels of answers, secrets, values of the environment other than vitserve's own.
 */
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import type { LogFormat, LogLevel } from '../config/settings.js';

export type { Logger };

export function createLogger(level: LogLevel, format: LogFormat, isTerminal: boolean): Logger {
  const options = { level, base: null, formatters: { level: (label: string) => ({ level: label }) } };
  if (format === 'json' || (format === 'auto' && !isTerminal)) {
    return pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 1, sync: true }));
  }
  return pino(options, pretty({ translateTime: 'SYS:HH:MM:ss.l', colorize: isTerminal, sync: true, singleLine: true }));
}
