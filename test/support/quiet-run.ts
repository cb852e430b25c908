/**
 * An environment in which nothing can be written unseen, and what a program did in it: which files
 * it wrote and which sockets it had, by looking at folders and at /proc, and by strace if
 * available.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { childrenOf, eventually, type Scope, temporaryFolder } from './server.js';

/** Variables that name a folder in which programs keep things. */
const FOLDERS = [
  'HOME',
  'TMPDIR',
  'XDG_CACHE_HOME',
  'XDG_CONFIG_HOME',
  'XDG_DATA_HOME',
  'XDG_STATE_HOME',
] as const;

export interface Surroundings {
  /** For the program. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where it may write. */
  readonly out: string;
  /** Every file and folder that it has left outside of its place. */
  leftBehind(): string[];
}

export function surroundings(scope: Scope): Surroundings {
  const root = temporaryFolder(scope);
  const folders = FOLDERS.map((name) => [name, join(root, name.toLowerCase())] as const);
  for (const [, folder] of folders) mkdirSync(folder);
  const out = join(root, 'out');
  mkdirSync(out);
  return {
    // The tests' own setting of telemetry must not help: the program has to take care of it.
    environment: { ...Object.fromEntries(folders), ORT_DISABLE_TELEMETRY: '0' },
    out,
    leftBehind: () =>
      folders.flatMap(([name, folder]) =>
        readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => `${name}/${file}`),
      ),
  };
}

/** The process, its children, and theirs. */
export function familyOf(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(familyOf)];
}

export interface OpenSocket {
  readonly kind: 'tcp' | 'udp';
  readonly localPort: number;
  /** 0: it listens, or is not connected. */
  readonly remotePort: number;
}

/** The network sockets that a process has open, from /proc. Empty if it has ended. */
export function socketsOf(pid: number): OpenSocket[] {
  try {
    const inodes = new Set(
      linksOf(pid).flatMap(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []),
    );
    return (['tcp', 'tcp6', 'udp', 'udp6'] as const).flatMap((table) => {
      const [, ...lines] = readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n');
      return lines.flatMap((line) => {
        const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
        if (!inodes.has(inode ?? '')) return [];
        const port = (address: string | undefined) =>
          Number.parseInt(address?.split(':')[1] ?? '0', 16);
        return [
          {
            kind: table.startsWith('tcp') ? 'tcp' : 'udp',
            localPort: port(local),
            remotePort: port(remote),
          },
        ];
      });
    });
  } catch {
    return [];
  }
}

/** Files that a process holds open for writing, except devices, pipes and shared memory. */
export function filesWrittenBy(pid: number): string[] {
  try {
    return linksOf(pid).flatMap(({ fd, target }) => {
      if (!target.startsWith('/') || isSystemPlace(target)) return [];
      const flags = Number.parseInt(
        /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0',
        8,
      );
      return (flags & 3) === 0 ? [] : [target];
    });
  } catch {
    return [];
  }
}

function linksOf(pid: number): { readonly fd: string; readonly target: string }[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [{ fd, target: readlinkSync(`/proc/${pid}/fd/${fd}`) }];
    } catch {
      return [];
    }
  });
}

function isSystemPlace(path: string): boolean {
  return /^\/(?:dev|proc|memfd:)/.test(path);
}

/** Whether strace is available and may trace. */
export const STRACE =
  spawnSync('strace', ['-qq', '-o', '/dev/null', 'true'], { stdio: 'ignore' }).status === 0;

export interface Trace {
  /** The command in front of the program's. The traced process keeps its parent. */
  readonly within: readonly string[];
  /**
   * Paths that were opened for writing or created, except devices and shared memory. Read it when
   * the program has ended.
   */
  written(): Promise<string[]>;
  /**
   * Network sockets that were made, and their binds and connections: `socket AF_INET SOCK_DGRAM`,
   * `connect 127.0.0.1:50051`.
   */
  network(): Promise<string[]>;
}

export function trace(scope: Scope): Trace {
  const file = join(temporaryFolder(scope), 'trace');
  const calls =
    'trace=socket,bind,connect,sendto,sendmsg,sendmmsg,openat,open,creat,mkdir,mkdirat,rename,renameat2';
  const lines = async (): Promise<string[]> =>
    await eventually('the trace is complete', () => {
      const found = readFileSync(file, 'utf8').trimEnd().split('\n');
      // Process ids are padded.
      const end = new RegExp(`^${Number.parseInt(found[0] ?? '', 10)} +\\+\\+\\+ `);
      return found.some((line) => end.test(line)) && found;
    });
  return {
    within: ['strace', '-D', '-f', '-q', '-s', '256', '-e', calls, '-e', 'signal=none', '-o', file],
    async written() {
      const paths = (await lines()).flatMap((line) => {
        if (/ = -1 /.test(line)) return [];
        const opened = /\bopen(?:at)?\((?:[^"]*)"([^"]*)", ([A-Z_|]+)/.exec(line);
        if (opened !== null)
          return /O_WRONLY|O_RDWR|O_CREAT/.test(opened[2] ?? '') ? [opened[1] as string] : [];
        const made = /\b(?:creat|mkdir|mkdirat|rename|renameat2)\(.*"([^"]*)"/.exec(line);
        return made === null ? [] : [made[1] as string];
      });
      return [...new Set(paths)].filter((path) => !isSystemPlace(path));
    },
    async network() {
      const found = (await lines()).flatMap((line) => {
        const made = /\bsocket\((AF_\w+), (SOCK_\w+)/.exec(line);
        if (made !== null) return [`socket ${made[1]} ${made[2]}`];
        const place =
          /\b(bind|connect|sendto|sendmsg|sendmmsg)\(.*sin6?_port=htons\((\d+)\).*?"([^"]+)"/.exec(
            line,
          );
        return place === null ? [] : [`${place[1]} ${place[3]}:${place[2]}`];
      });
      return [...new Set(found)];
    },
  };
}
