/** A Python that has what a test needs, if there is one. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { REPOSITORY } from './scope.js';

/** The project's own Python, or the system's, if it can import these modules; otherwise null. */
export function pythonWith(modules: readonly string[]): string | null {
  const imports = modules.map((name) => `import ${name}`).join('\n');
  for (const python of [join(REPOSITORY, 'tools/.venv/bin/python'), 'python3']) {
    // Importing onnxruntime is enough to start its telemetry.
    const env = { ...process.env, ORT_DISABLE_TELEMETRY: '1' };
    if (spawnSync(python, ['-c', imports], { stdio: 'ignore', env }).status === 0) return python;
  }
  return null;
}
