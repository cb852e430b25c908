/** Clients in other languages, driven line by line. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { REPOSITORY, type Scope } from './scope.js';

/**
 * A program that answers every line of JSON with another, run at the root of the repository. It
 * ends with the scope.
 */
export class SteppedClient {
  readonly #ask: (line: string) => void;
  readonly #waiting: { resolve(answer: unknown): void; reject(error: Error): void }[] = [];
  #ended: Error | null = null;

  constructor(scope: Scope, command: string, args: readonly string[]) {
    const child = spawn(command, args, { cwd: REPOSITORY, stdio: ['pipe', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    createInterface({ input: child.stdout }).on('line', (line) =>
      this.#waiting.shift()?.resolve(JSON.parse(line)),
    );
    const ended = once(child, 'close').then(() => {
      this.#ended = new Error(`${[command, ...args].join(' ')} has ended:\n${stderr}`);
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
