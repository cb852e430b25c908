/**
 * What a process gives up, so that an attacker who runs code in it can do little. Linux only. A
 * process and its children cannot take any of it back.
 *
 * - No new privileges: set-user-id programs and file capabilities give it none
 *   (`PR_SET_NO_NEW_PRIVS`).
 * - Not dumpable: no core file, and no process of the same user can attach to it or read its memory
 *   (`PR_SET_DUMPABLE`); its figures in `/proc/PID/stat` stay readable.
 * - No new descriptors: with a limit of 0 open files (`RLIMIT_NOFILE`) the open ones still work,
 *   and the process can open no further files, sockets, pipes or devices.
 * - A limit of private memory (`RLIMIT_DATA`): beyond it allocations fail. Reserved address space,
 *   of which V8 and WebAssembly take gigabytes, does not count; that is why this limit works and
 *   `RLIMIT_AS` does not.
 *
 * Absent: a limit of processes (`RLIMIT_NPROC` counts the threads of all processes of the user, and
 * libvips starts threads at any time), and a filter of system calls, which the container has
 * (seccomp). See prctl(2), getrlimit(2).
 */
import { readdirSync, readFileSync } from 'node:fs';
import koffi from 'koffi';

const F_SETFD = 2;
const FD_CLOEXEC = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
/** As numbered on all platforms of Linux that Node supports. */
const RLIMIT = { data: 2, core: 4, openFiles: 7 } as const;

/** The limits of a child once it is ready. */
export interface ResourceLimits {
  /** It can open no further descriptor. */
  readonly noNewDescriptors: boolean;
  /** Private memory that it may take beyond what it has now. Null: unlimited. */
  readonly memoryBytes: number | null;
}

export const NO_LIMITS: ResourceLimits = { noNewDescriptors: false, memoryBytes: null };

/** Hides the memory from other processes of the same user: no core file, no ptrace. */
export function hideMemory(): void {
  if (process.platform !== 'linux') return;
  prctl(PR_SET_DUMPABLE, 0);
}

/**
 * For the front, before it has children: has them inherit no descriptor that the front itself
 * inherited. (Node marks only those that it opens.)
 */
export function keepDescriptors(): void {
  if (process.platform !== 'linux') return;
  const fcntl = koffi.load(null).func('int fcntl(int fd, int command, ...)');
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    // One is gone by now: that of the folder itself.
    if (fd > 2) fcntl(fd, F_SETFD, 'int', FD_CLOEXEC);
  }
}

/**
 * For a child that has everything it needs, before its first call. (Not earlier: CUDA may need a
 * set-user-id program to create its devices.)
 */
export function confine({ noNewDescriptors, memoryBytes }: ResourceLimits): void {
  if (process.platform !== 'linux') return;
  prctl(PR_SET_NO_NEW_PRIVS, 1);
  hideMemory();
  setLimit(RLIMIT.core, 0);
  if (memoryBytes !== null) setLimit(RLIMIT.data, privateBytes() + memoryBytes);
  if (noNewDescriptors) setLimit(RLIMIT.openFiles, 0);
}

/** The memory that RLIMIT_DATA counts: `VmData` of proc_pid_status(5). */
function privateBytes(): number {
  const kibibytes = /^VmData:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return Number(kibibytes) * 1024;
}

function prctl(option: number, value: number): void {
  const call = koffi.load(null).func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  if (call(option, value, 0, 0, 0) !== 0) throw new Error(`prctl(${option}) failed`);
}

/** Sets the soft and the hard limit, so that it cannot be raised again. */
function setLimit(resource: number, value: number): void {
  const call = koffi.load(null).func('int setrlimit(int resource, const void* limit)');
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(BigInt(value), 0);
  limit.writeBigUInt64LE(BigInt(value), 8);
  if (call(resource, limit) !== 0) throw new Error(`setrlimit(${resource}, ${value}) was refused`);
}
