/** Python clients, where there is a Python that has what they need. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPOSITORY, type Scope } from './server.js';

/** The project's own Python, or the system's, if it can import these modules; otherwise null. */
export function pythonWith(modules: readonly string[]): string | null {
  const imports = modules.map((name) => `import ${name}`).join('\n');
  for (const python of [join(REPOSITORY, 'tools/.venv/bin/python'), 'python3']) {
    if (spawnSync(python, ['-c', imports], { stdio: 'ignore' }).status === 0) return python;
  }
  return null;
}

/** A Python program that answers every line of JSON with another. It ends with the scope. */
export class PythonClient {
  readonly #ask: (line: string) => void;
  readonly #waiting: { resolve(answer: unknown): void; reject(error: Error): void }[] = [];
  #ended: Error | null = null;

  constructor(scope: Scope, python: string, script: string, args: readonly string[]) {
    const child = spawn(python, [join(REPOSITORY, script), ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#waiting.shift()?.resolve(JSON.parse(line)));
    const ended = once(child, 'close').then(() => {
      this.#ended = new Error(`${script} has ended:\n${stderr}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    });
    child.stdin.on('error', () => {});
    this.#ask = (line) => child.stdin.write(`${line}\n`);
    scope.after(() => {
      child.kill('SIGKILL');
      return ended;
    });
  }

  step(step: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) return reject(this.#ended);
      this.#waiting.push({ resolve, reject });
      this.#ask(JSON.stringify(step));
    });
  }
}
