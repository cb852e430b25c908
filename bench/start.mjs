// From `npm start` to SERVING, in a tree that has been installed but not built, and again once it
// has been built.
//   node bench/start.mjs [ROUNDS]
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { median } from './server.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const rounds = Number(process.argv[2] ?? 3);

async function start() {
  const startedAt = performance.now();
  const environment = {
    ...process.env,
    VITSERVE_ADDRESS: '127.0.0.1:0',
    VITSERVE_HTTP_ADDRESS: '127.0.0.1:0',
    VITSERVE_LOG_FORMAT: 'json',
  };
  const npm = spawn('npm', ['start'], {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = new Promise((resolve) => npm.once('exit', resolve));
  const pid = await new Promise((resolve) => {
    let front = 0;
    createInterface({ input: npm.stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return;
      const entry = JSON.parse(line);
      if (entry.pid !== undefined && entry.msg === 'vitserve') front = entry.pid;
      if (entry.msg === 'serving') resolve(front);
    });
  });
  const milliseconds = performance.now() - startedAt;
  process.kill(pid, 'SIGTERM');
  await exited;
  return milliseconds;
}

const unbuilt = [];
const built = [];
for (let round = 0; round < rounds; round++) {
  rmSync(`${root}/dist`, { recursive: true, force: true });
  unbuilt.push(await start());
  built.push(await start());
}
console.log(
  `npm start to SERVING: ${(median(unbuilt) / 1000).toFixed(2)} s with the build, ${(median(built) / 1000).toFixed(2)} s when built`,
);
