/** The machine that figures are of, and where things are on it. */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { availableCores } from '#vitserve/system/cores.js';
import { findOnnxruntime } from '#vitserve/workers/inference/cuda/provider-place.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const MAIN = join(ROOT, 'dist/main.js');

export function machineLine(): string {
  const { version } = findOnnxruntime();
  return `${availableCores()} cores (${cpus()[0]?.model}), Node.js ${process.version.slice(1)}, onnxruntime ${version}`;
}

/** A command of the built program that has to succeed, such as `convert`. */
export function vitserve(...argv: string[]): void {
  run(process.execPath, [MAIN, ...argv]);
}

export function run(program: string, argv: readonly string[]): void {
  const { status, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${argv.join(' ')}: exit code ${status}\n${stderr}`);
}

/** The project's Python (tools/.venv) or the system's, if it has these modules; otherwise null. */
export function pythonWith(modules: readonly string[]): string | null {
  // Importing onnxruntime is enough for its telemetry.
  const env = { ...process.env, ORT_DISABLE_TELEMETRY: '1' };
  const has = (python: string) =>
    spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore', env }).status ===
    0;
  return [join(ROOT, 'tools/.venv/bin/python'), 'python3'].find(has) ?? null;
}
