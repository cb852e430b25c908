/**
 * Runs the built program as its users do: as a process with flags, watched through its log, ports
 * and exit code.
 *
 * Everything that a test starts here ends with the test's scope, even if the test fails: the front
 * by its pid, and any child that is left after it. Nothing waits for a fixed time; `eventually`
 * polls until a deadline.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { eventually, REPOSITORY, type Scope } from './scope.js';

// What tests with a server need as well.
export * from './scope.js';

export const PROGRAM = join(REPOSITORY, 'dist/main.js');

export interface LogLine {
  readonly level: string;
  readonly msg?: string;
  readonly [field: string]: unknown;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type Role = 'decoder' | 'inference';

export interface Child {
  readonly role: Role;
  readonly index: number;
  readonly pid: number;
}

/** Whether the process runs; one that has ended and was not reaped does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return processState(pid) !== 'Z';
}

/**
 * The letter of proc_pid_stat(5), such as T for stopped; null if there is no such process or no
 * /proc.
 */
export function processState(pid: number): string | null {
  return statOf(pid)?.[0] ?? null;
}

/** The command line of the process; empty if there is no such process or no /proc. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

/** The fields of /proc/PID/stat from the third on. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => statOf(candidate)?.[1] === String(pid));
}

/** A port that nothing listens on, for the few tests that must know it before the server does. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * The tests' own environment without variables that would configure vitserve or make it believe
 * that it is a test.
 */
function plainEnvironment(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(VITSERVE|OTEL)_/.test(name) && name !== 'NODE_TEST_CONTEXT',
  );
  return { ...Object.fromEntries(kept), ...more };
}

/**
 * The last digits of answers depend on the provider, so tests that compare them use the one that
 * every machine has.
 */
export const ON_CPU = ['--execution-provider', 'cpu'] as const;
/** One process of each kind: starts soonest. */
export const ONE_EACH = ['--decoder-processes', '1', '--inference-processes', '1'] as const;
/**
 * No model: as fast as possible, classes by the sum of the pixels, embeddings by their mean colour.
 */
export const SIMULATED = ['--execution-provider', 'simulated:1:0.1', ...ONE_EACH] as const;

export interface SpawnOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Runs the program inside another one, such as a shell that then becomes it. */
  readonly within?: readonly string[];
  /** As the leader of a process group, as a shell starts it. */
  readonly detached?: boolean;
  /**
   * `within` makes a PID namespace, so the pids in the log differ from ours; it ends its processes
   * when it ends.
   */
  readonly ownPids?: boolean;
}

/**
 * Running fronts. A test file that is ended from outside (a time limit, Ctrl-C) runs no clean-up,
 * so they are ended here.
 */
const running = new Set<number>();
process.on('exit', () => {
  for (const pid of running) process.kill(pid, 'SIGKILL');
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1));

/** A server that is starting, serving, or has ended. */
export class ServerProcess {
  readonly pid: number;
  readonly lines: LogLine[] = [];
  readonly exited: Promise<Exit>;
  stderr = '';
  exit: Exit | null = null;
  #everSeen = new Set<number>();
  readonly #ownPids: boolean;

  private constructor(child: ChildProcess, ownPids: boolean) {
    this.pid = child.pid ?? 0;
    this.#ownPids = ownPids;
    const { stdout, stderr } = child;
    assert(stdout !== null && stderr !== null);
    createInterface({ input: stdout }).on('line', (line) => {
      this.lines.push(
        line.startsWith('{') ? (JSON.parse(line) as LogLine) : { level: 'none', msg: line },
      );
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    running.add(this.pid);
    child.once('exit', () => running.delete(this.pid));
    this.exited = once(child, 'close').then(([code, signal]) => {
      this.exit = { code: code as number | null, signal: signal as NodeJS.Signals | null };
      return this.exit;
    });
  }

  /** `vitserve serve` with these flags, on free ports unless they name others. */
  static spawn(scope: Scope, flags: readonly string[], options: SpawnOptions = {}): ServerProcess {
    const addresses = ['address', 'http-address'].flatMap((name) =>
      flags.includes(`--${name}`) ? [] : [`--${name}`, '127.0.0.1:0'],
    );
    const [command, ...args] = [
      ...(options.within ?? []),
      process.execPath,
      PROGRAM,
      'serve',
      ...addresses,
      '--log-format',
      'json',
      ...flags,
    ];
    const child = spawn(command as string, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(options.environment ?? {}),
      detached: options.detached ?? false,
    });
    const server = new ServerProcess(child, options.ownPids ?? false);
    scope.after(() => server.end());
    return server;
  }

  /** The same, ready for calls. */
  static async start(
    scope: Scope,
    flags: readonly string[],
    options?: SpawnOptions,
  ): Promise<ServerProcess> {
    const server = ServerProcess.spawn(scope, flags, options);
    await server.logged('serving');
    return server;
  }

  /** Waits for the log line with this text. Rejects if the server ends without it. */
  async logged(msg: string, matches: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return await eventually(`log line "${msg}"`, () => {
      const line = this.lines.find((candidate) => candidate.msg === msg && matches(candidate));
      if (line === undefined && this.exit !== null) {
        throw new Error(`the server ended (${JSON.stringify(this.exit)}):\n${this.output}`);
      }
      return line;
    });
  }

  /** The whole log, for messages of failing tests. */
  get output(): string {
    return [...this.lines.map((line) => JSON.stringify(line)), this.stderr].join('\n');
  }

  /** `host:port` of metrics and probes. */
  get httpAddress(): string {
    return String(this.#serving.http);
  }

  get address(): string {
    return String(this.#serving.address);
  }

  get port(): number {
    return Number(this.address.split(':').at(-1));
  }

  get #serving(): LogLine {
    const line = this.lines.find(({ msg }) => msg === 'serving');
    assert(line, 'the server is serving');
    return line;
  }

  /** The children that run now, according to the log. */
  children(role?: Role): Child[] {
    const current = new Map<number, Child>();
    for (const line of this.lines) {
      if (line.msg === 'process lost') current.delete(line.pid as number);
      if (line.msg === 'process ready') current.set(line.pid as number, line as unknown as Child);
    }
    return [...current.values()].filter((child) => role === undefined || child.role === role);
  }

  /**
   * Pids of all running processes that the front has started, ready or not, according to the
   * system.
   */
  childPids(): number[] {
    const pids = childrenOf(this.pid);
    for (const pid of pids) this.#everSeen.add(pid);
    return pids;
  }

  /** Pids of all children so far that still run. */
  childrenLeft(): number[] {
    for (const { msg, pid } of this.#ownPids ? [] : this.lines) {
      if (msg === 'process ready') this.#everSeen.add(pid as number);
    }
    return [...this.#everSeen].filter(isAlive);
  }

  /**
   * Stops the children of a role (SIGSTOP), so that they answer nothing. Returns a function that
   * continues them, which happens at the end of the scope at the latest.
   */
  async freeze(scope: Scope, role: Role): Promise<() => void> {
    const children = this.children(role);
    const thaw = () => {
      for (const { pid } of children) if (isAlive(pid)) process.kill(pid, 'SIGCONT');
    };
    scope.after(thaw);
    for (const { pid } of children) process.kill(pid, 'SIGSTOP');
    await eventually(`the ${role} processes have stopped`, () =>
      children.every(({ pid }) => ['T', null].includes(processState(pid))),
    );
    return thaw;
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** GET of the HTTP port. */
  async get(
    path: string,
  ): Promise<{ readonly status: number; readonly text: string; readonly type: string }> {
    const response = await fetch(`http://${this.#serving.http}${path}`, {
      headers: { connection: 'close' },
    });
    return {
      status: response.status,
      text: await response.text(),
      type: response.headers.get('content-type') ?? '',
    };
  }

  /** The sum over all series of a metric that have these labels; 0 without any. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOfSeries((await this.get('/metrics')).text, name, labels);
  }

  /** Waits until a metric has a value. */
  async metricIs(
    name: string,
    labels: Readonly<Record<string, string>>,
    value: number,
  ): Promise<void> {
    let last = Number.NaN;
    const what = () => `${name}${JSON.stringify(labels)} is ${value} (last seen: ${last})`;
    await eventually('', async () => {
      last = await this.metric(name, labels);
      return last === value;
    }).catch(() => assert.fail(`not so: ${what()}`));
  }

  /** Ends the server as an operator would and resolves with the outcome. */
  async stop(): Promise<Exit> {
    if (this.exit === null) this.signal('SIGTERM');
    return await this.exited;
  }

  /** Ends what is left, in any state. */
  async end(): Promise<void> {
    if (this.exit === null) {
      this.childPids();
      for (const pid of this.childrenLeft()) process.kill(pid, 'SIGCONT');
      this.signal('SIGKILL');
      await this.exited;
    }
    for (const pid of this.childrenLeft()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended by itself.
      }
    }
  }
}

export function sumOfSeries(
  exposition: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  let sum = 0;
  for (const line of exposition.split('\n')) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match?.[1] !== name) continue;
    const series = match[2] ?? '';
    if (Object.entries(labels).every(([label, value]) => series.includes(`${label}="${value}"`)))
      sum += Number(match[3]);
  }
  return sum;
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export async function runProgram(
  scope: Scope,
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: plainEnvironment(environment),
  });
  scope.after(() => child.exitCode ?? child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** Runs `vitserve` with these arguments to its end. */
export function vitserve(
  scope: Scope,
  args: readonly string[],
  environment?: Readonly<Record<string, string>>,
) {
  return runProgram(scope, process.execPath, [PROGRAM, ...args], environment);
}
