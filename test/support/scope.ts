/** What any test may need, and nothing that starts a process or opens a socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The compiled tests lie two folders below the root, in dist-test/support. */
export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
export const MODELS = join(REPOSITORY, 'models');

/** What cleans up after a test: its context (`t`), or `suiteScope()` for a whole suite. */
export interface Scope {
  after(clean: () => unknown): void;
}

/** A scope that ends when it is told to. What is begun last is ended first. */
export class OwnScope implements Scope {
  readonly #cleanings: (() => unknown)[] = [];

  after(clean: () => unknown): void {
    this.#cleanings.push(clean);
  }

  async end(): Promise<void> {
    for (const clean of this.#cleanings.splice(0).toReversed()) await clean();
  }
}

/** For what the tests of a suite share. Made in the suite's body. */
export function suiteScope(): Scope {
  const scope = new OwnScope();
  after(() => scope.end());
  return scope;
}

/** An empty folder that goes away with the scope. */
export function temporaryFolder(scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
  scope.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const PATIENCE_MS = 20_000;

/** Resolves with the first value of `ask` that is neither false, null nor undefined. */
export async function eventually<Value>(
  what: string,
  ask: () => Value | Promise<Value>,
  patienceMs = PATIENCE_MS,
): Promise<Exclude<Value, false | null | undefined>> {
  const until = performance.now() + patienceMs;
  for (;;) {
    const value = await ask();
    if (value !== false && value !== null && value !== undefined) {
      return value as Exclude<Value, false | null | undefined>;
    }
    if (performance.now() > until) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
