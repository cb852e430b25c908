// Runs an image as Kubernetes would, without a container runtime, and measures what
// docs/operate/kubernetes.md promises: process 1 in a PID namespace of its own, an unprivileged
// user without capabilities, a read-only root file system without /tmp, 64 MiB of /dev/shm, a
// network namespace of its own.
//   npm run build:test && tools/image/build-stand-in.sh
//   node tools/image/try-image.mjs [IMAGE] [SECONDS]
// Needs root, buildah, and util-linux. Loads from within the network namespace, so nothing is
// reached from outside.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { VitserveClient } from '../../dist/client/client.js';
import { drawnPictures } from '../../dist-bench/lib/pictures.js';

const [image = 'localhost/vitserve:cpu', seconds = '5'] = process.argv.slice(2);
const CALLERS = 16;

if (process.env.INSIDE !== 'yes') {
  const enter = 'ip link set lo up && exec "$@"';
  const { status } = spawnSync(
    'unshare',
    ['--net', 'sh', '-c', enter, 'sh', process.execPath, ...process.argv.slice(1)],
    {
      stdio: 'inherit',
      env: { ...process.env, INSIDE: 'yes' },
    },
  );
  process.exit(status ?? 1);
}

const RUN = `
  root=$1 user=$2; shift 2
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755,size=1m tmpfs "$root/dev"
  for name in null zero full random urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
  mkdir "$root/dev/shm"
  mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev,noexec tmpfs "$root/dev/shm"
  mount -o remount,bind,ro "$root"
  exec env -i "$@"
`;

const buildah = (...args) => execFileSync('buildah', args, { encoding: 'utf8' }).trim();
const { config } = JSON.parse(buildah('inspect', '--type', 'image', image)).OCIv1;

function start(root) {
  const command = [
    ...config.Env,
    '/usr/bin/setpriv',
    '--no-new-privs',
    '/usr/sbin/chroot',
    `--userspec=${config.User}`,
    root,
  ];
  const child = spawn(
    'unshare',
    // prettier-ignore
    [
      '--mount',
      '--pid',
      '--ipc',
      '--uts',
      '--fork',
      '--kill-child',
      'bash',
      '-euc',
      RUN,
      'bash',
      root,
      config.User,
      ...command,
      ...config.Entrypoint,
      ...config.Cmd,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const entries = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => entries.push(line.startsWith('{') ? JSON.parse(line) : { msg: line }));
  const exited = once(child, 'exit').then(([code, signal]) => signal ?? code);
  const logged = async (msg) => {
    for (;;) {
      const entry = entries.find((each) => each.msg === msg);
      if (entry !== undefined) return entry;
      const ended = await Promise.race([once(lines, 'line').then(() => null), exited]);
      if (ended !== null)
        throw new Error(
          `ended with ${ended}:\n${entries.map((each) => each.line ?? each.msg).join('\n')}`,
        );
    }
  };
  return { unsharePid: child.pid, entries, exited, logged };
}

const statusOf = (pid) => readFileSync(`/proc/${pid}/status`, 'utf8');
const field = (pid, name) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(statusOf(pid))?.[1] ?? '';

function childrenOf(parent) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return field(pid, 'PPid') === String(parent);
      } catch {
        return false;
      }
    });
}
const zombiesOf = (parent) =>
  childrenOf(parent).filter((pid) => field(pid, 'State').startsWith('Z'));

const container = buildah('from', image);
try {
  const root = buildah('mount', container);
  const images = await drawnPictures();
  const startedAt = performance.now();
  const server = start(root);
  await server.logged('serving');
  const servingMs = performance.now() - startedAt;
  const [first] = childrenOf(server.unsharePid);
  const rootMount = readFileSync(`/proc/${first}/mountinfo`, 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , place]) => place === '/')
    .at(-1);
  console.log(`image: ${image}, ${config.Entrypoint.concat(config.Cmd).join(' ')}`);
  console.log(
    `process ${field(first, 'NSpid').split('\t').at(-1)}, uid ${field(first, 'Uid').split('\t')[0]}, capabilities ${field(first, 'CapEff')}, root ${rootMount?.[5]?.split(',')[0]}`,
  );
  console.log(`start to SERVING: ${(servingMs / 1000).toFixed(2)} s`);

  const client = new VitserveClient('127.0.0.1:50051', { retries: false });
  let sending = true;
  const outcomes = {};
  const count = (name) => {
    outcomes[name] = (outcomes[name] ?? 0) + 1;
  };
  const callers = Array.from({ length: CALLERS }, async (_, caller) => {
    for (let call = caller; sending; call++) {
      await client.classify({ image: images[call % images.length] }, { timeoutMs: 20_000 }).then(
        () => count('OK'),
        (error) => count(error.reason || `${error.code} ${error.message}`),
      );
    }
  });

  await sleep(Number(seconds) * 400);
  const ready = (role) =>
    server.entries.filter((entry) => entry.msg === 'process ready' && entry.role === role);
  const victims = ['decoder', 'inference'].map((role) => ready(role)[0].pid);
  // Their numbers are those of the namespace.
  for (const pid of childrenOf(first))
    if (victims.includes(Number(field(pid, 'NSpid').split('\t').at(-1))))
      process.kill(pid, 'SIGKILL');
  await sleep(Number(seconds) * 600);
  console.log(
    `killed one child of each kind under load: ${JSON.stringify(outcomes)}, zombies ${zombiesOf(first).length}`,
  );

  // Signalled while every caller waits for an answer; none calls again.
  sending = false;
  const signalledAt = performance.now();
  process.kill(first, 'SIGTERM');
  await Promise.all(callers);
  const code = await server.exited;
  console.log(
    `SIGTERM to exit: ${(performance.now() - signalledAt).toFixed(0)} ms, exit code ${code}, calls in all ${JSON.stringify(outcomes)}`,
  );
  client.close();

  const again = start(root);
  await again.logged('serving');
  const [second] = childrenOf(again.unsharePid);
  // A stranger's process whose parent has gone: what `kubectl exec` can leave behind.
  spawnSync('nsenter', [
    '--pid',
    `--target=${second}`,
    'sh',
    '-c',
    '(sleep 0.1 & sleep 0.05 &) ; exit 0',
  ]);
  await sleep(1000);
  console.log(`orphans of others that process 1 left as zombies: ${zombiesOf(second).length} of 2`);
  process.kill(second, 'SIGTERM');
  await again.exited;

  // Soonest that a signal is heeded: as process 1 it gets none that it has no handler for.
  const early = start(root);
  await early.logged('vitserve');
  const earlyAt = performance.now();
  process.kill(childrenOf(early.unsharePid)[0], 'SIGTERM');
  console.log(
    `SIGTERM while starting: exit code ${await early.exited} after ${(performance.now() - earlyAt).toFixed(0)} ms`,
  );
} finally {
  execFileSync('buildah', ['umount', container], { stdio: 'ignore' });
  execFileSync('buildah', ['rm', container], { stdio: 'ignore' });
}
