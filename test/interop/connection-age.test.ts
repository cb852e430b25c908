/**
 * Three client libraries on a server that asks its connections to close every second: no call
 * fails, with images that the library could send again and with larger ones. Go and Python skip if
 * they are missing. `README.md` has the long run.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { VitserveClient } from '#vitserve/client/client.js';
import { PlainClient } from '../support/grpc-client.js';
import { jpeg, withComments } from '../support/images.js';
import { underLoad } from '../support/load.js';
import { pythonWith } from '../support/python.js';
import { countingProxy } from '../support/raw-call.js';
import {
  REPOSITORY,
  type Scope,
  ServerProcess,
  SIMULATED,
  suiteScope,
  temporaryFolder,
} from '../support/server.js';
import { SteppedClient } from '../support/stepped-client.js';
import { goClient } from './go-client.js';

const SECONDS = 3.5;
const CALLERS = 4;
const IMAGE = 'docs/images/ship.png';
/** More than the buffers from which libraries send a call again. */
const LARGE_BYTES = 2_000_000;

interface Steady {
  readonly calls: number;
  readonly errors: readonly string[];
}

const go = goClient();
const PYTHON_MODULES = [
  'grpc_tools.protoc',
  'grpc_status',
  'grpc_health',
  'grpc_reflection',
  'google.rpc',
];
const python = pythonWith(PYTHON_MODULES);
const NO_PYTHON = 'no Python with grpcio and its packages';

describe('connections that are asked to close every second', { concurrency: true }, () => {
  const scope = suiteScope();
  let server: ServerProcess;

  before(async () => {
    server = await ServerProcess.start(scope, [...SIMULATED, '--max-connection-age', '1s']);
  });

  /** The connections are counted on the way. */
  async function judge(t: Scope, callFor: (address: string) => Promise<Steady>): Promise<void> {
    const proxy = await countingProxy(t, server.port);
    const { calls, errors } = await callFor(`127.0.0.1:${proxy.port}`);
    assert.deepEqual(errors, []);
    assert(calls > 10, `${calls} calls`);
    assert(proxy.connections() >= 3, `${proxy.connections()} connections`);
  }

  const stepped = (t: Scope, command: string, args: readonly string[], image = IMAGE) =>
    new SteppedClient(t, command, args).step({
      step: 'steady',
      image,
      arguments: [SECONDS, CALLERS],
    }) as Promise<Steady>;

  test('grpc-js', (t) =>
    judge(t, async (address) => {
      const client = new VitserveClient(address, { ownConnection: true });
      t.after(() => client.close());
      const image = await jpeg(1);
      const errors: string[] = [];
      let calls = 0;
      const until = performance.now() + SECONDS * 1000;
      await underLoad(CALLERS, CALLERS, async () => {
        for (; performance.now() < until; calls++) {
          await client
            .classify({ image }, { timeoutMs: 20_000 })
            .catch((error: unknown) => errors.push(String(error)));
        }
      });
      return { calls, errors };
    }));

  test('grpc-js with images of which it keeps no copy', (t) =>
    judge(t, async (address) => {
      const client = new PlainClient(t, address);
      const image = withComments(await jpeg(1), LARGE_BYTES);
      const errors: string[] = [];
      let calls = 0;
      const until = performance.now() + SECONDS * 1000;
      await underLoad(CALLERS, CALLERS, async () => {
        for (; performance.now() < until; calls++) {
          await client
            .classify({ image }, { timeoutMs: 20_000 })
            .catch((error: unknown) => errors.push(String(error)));
        }
      });
      return { calls, errors };
    }));

  const grpcio = (t: Scope, image?: string) =>
    judge(t, (address) =>
      stepped(
        t,
        python ?? '',
        ['test/integration/grpcio_client.py', address, `${REPOSITORY}/proto`],
        image,
      ),
    );

  test(
    'grpcio with images of which it keeps no copy',
    python === null ? { skip: NO_PYTHON } : {},
    async (t) => {
      const path = join(temporaryFolder(t), 'large.jpg');
      writeFileSync(path, withComments(await jpeg(1), LARGE_BYTES));
      await grpcio(t, path);
    },
  );

  test('grpcio', python === null ? { skip: NO_PYTHON } : {}, (t) => grpcio(t));

  test('grpc-go', 'missing' in go ? { skip: go.missing } : {}, (t) =>
    judge(t, (address) => stepped(t, 'program' in go ? go.program : '', ['steps', address])),
  );
});
