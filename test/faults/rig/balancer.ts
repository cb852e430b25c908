/**
 * HAProxy in front of two replicas, like an ingress: HTTP/2 on both sides, `/readyz` probed five
 * times a second.
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, freePort, type Scope, temporaryFolder } from '../../support/server.js';

export interface Replica {
  readonly port: number;
  readonly httpPort: number;
}

export interface Balancer {
  readonly address: string;
  readonly pid: number;
  /** Waits until it sends calls to that many replicas. */
  hasReplicas(count: number): Promise<void>;
}

/** null without HAProxy. */
export function balancerVersion(): string | null {
  const { status, stdout } = spawnSync('haproxy', ['-v'], { encoding: 'utf8' });
  return status === 0 ? (stdout.split('\n')[0] ?? '') : null;
}

export async function startBalancer(scope: Scope, replicas: readonly Replica[]): Promise<Balancer> {
  const [port, statsPort] = [await freePort(), await freePort()];
  const path = join(temporaryFolder(scope), 'haproxy.cfg');
  writeFileSync(path, configuration(port, statsPort, replicas));
  const child = spawn('haproxy', ['-db', '-f', path], { stdio: 'ignore' });
  scope.after(() => child.kill('SIGKILL'));
  const hasReplicas = async (count: number) => {
    await eventually(`${count} replicas are up`, async () => {
      const response = await fetch(`http://127.0.0.1:${statsPort}/;csv`).catch(() => null);
      const lines = (await response?.text())?.split('\n') ?? [];
      return (
        lines.filter((line) => /^vitserve,replica-/.test(line) && /,UP,/.test(line)).length ===
        count
      );
    });
  };
  return { address: `127.0.0.1:${port}`, pid: child.pid ?? 0, hasReplicas };
}

function configuration(port: number, statsPort: number, replicas: readonly Replica[]): string {
  return [
    'defaults',
    '  mode http',
    '  timeout connect 2s',
    '  timeout client 60s',
    '  timeout server 60s',
    'frontend callers',
    `  bind 127.0.0.1:${port} proto h2`,
    '  default_backend vitserve',
    'frontend stats',
    `  bind 127.0.0.1:${statsPort}`,
    '  stats enable',
    '  stats uri /',
    'backend vitserve',
    '  balance roundrobin',
    '  option httpchk GET /readyz HTTP/1.1',
    '  http-check send hdr Host localhost',
    ...replicas.map(({ port, httpPort }, at) => {
      const check = `check check-proto h1 port ${httpPort} inter 200ms fall 1 rise 1`;
      return `  server replica-${at} 127.0.0.1:${port} proto h2 ${check}`;
    }),
    '',
  ].join('\n');
}
