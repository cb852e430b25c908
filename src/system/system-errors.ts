/**
 * What to do about errors of the operating system that vitserve does not cause: a limit is reached,
 * an address is unavailable. The system says only what; these texts say what would fix it.
 */
import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.js';

/** Why an address can't be listened on, with the remedy. `option` names it. */
export function listenProblem(
  option: string,
  { host, port }: { host: string; port: number },
  error: unknown,
): string {
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return `${option}: can't listen on ${address} (${messageOf(error)}): ${listenRemedy(error)}`;
}

function listenRemedy(error: unknown): string {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return 'end what uses it, or choose another port';
    case 'EACCES':
      return (
        'ports below 1024 are for privileged processes: ' +
        'choose a higher one, or grant CAP_NET_BIND_SERVICE'
      );
    case 'EADDRNOTAVAIL':
      return (
        'no interface of this machine has this address: ' +
        'choose one that "ip address" shows, or 0.0.0.0 for all'
      );
    case 'EAFNOSUPPORT':
      return 'IPv6 is not available here: choose an IPv4 address, such as 0.0.0.0';
    case 'ENOTFOUND':
      return (
        'there is no such host name: check its spelling, or give an IP address, ' +
        'such as 127.0.0.1 or 0.0.0.0'
      );
    case 'EAI_AGAIN':
      return (
        'the name could not be resolved for now: check the DNS of this machine, ' +
        'or give an IP address'
      );
    default:
      return limitRemedy(error) ?? 'choose another address';
  }
}

/** The message of anything thrown, with the remedy if a limit of the system was reached. */
export function describeSystemError(error: unknown): string {
  return limitProblem(error) ?? messageOf(error);
}

/** The same for errors that mean a reached limit; null for all others. */
export function limitProblem(error: unknown): string | null {
  const remedy = limitRemedy(error);
  return remedy === null ? null : `${messageOf(error)}: ${remedy}`;
}

function limitRemedy(error: unknown): string | null {
  switch (codeOf(error)) {
    case 'EMFILE': {
      const limit = openFilesLimit();
      return (
        `this process may have ${limit ?? 'too few'} open files: ` +
        'raise the limit, for example with "ulimit -n 4096"'
      );
    }
    case 'ENFILE':
      return (
        'the whole system has as many open files as it allows: ' +
        'raise fs.file-max, or end what holds them'
      );
    case 'EAGAIN':
      return (
        'no further process is allowed: raise the limit of processes ("ulimit -u", ' +
        'pids.max of the container)'
      );
    case 'ENOMEM':
      return 'the system has no memory for it: give it more, or run fewer processes';
    default:
      return null;
  }
}

/**
 * How many files this process may have open; null if the system does not tell, or sets no limit.
 */
export function openFilesLimit(): number | null {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null;
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
