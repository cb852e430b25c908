/** Starts a control (`control-server.ts`) as a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Scope } from '../../support/server.js';
import type { Control } from './control-server.js';
import type { Subject } from './run.js';

const PROGRAM = fileURLToPath(new URL('./control-server.js', import.meta.url));

/** Ends with the scope, and with this process however it ends: then its standard input closes. */
export async function startControl(scope: Scope, control: Control): Promise<Subject> {
  const child = spawn(process.execPath, [PROGRAM, control], { stdio: ['pipe', 'pipe', 'inherit'] });
  scope.after(() => child.kill('SIGKILL'));
  const [address] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { address, http: null, pid: child.pid ?? 0 };
}
