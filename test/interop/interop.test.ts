/**
 * The interop cases of the gRPC project against our server stack, by three clients that share no
 * code: grpc-js, grpcio (`interop_client.py`), and grpc-go with its own cases (`go/`). The latter
 * two skip if they are missing.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pythonWith } from '../support/python.js';
import { eventually, runProgram, type Scope } from '../support/server.js';
import { CASES } from './cases.js';
import { goClient } from './go-client.js';
import { startTestServer, TESTING_PROTO } from './test-service.js';

const NAMES = Object.keys(CASES);
const LIMIT = { timeout: 30_000 };

/** The server's counts for a case whose call does not end well, or that has no call of its own. */
const ENDINGS: Readonly<Record<string, RegExp>> = {
  client_compressed_unary: /^UnaryCall INVALID_ARGUMENT,UnaryCall OK,UnaryCall OK$/,
  cancel_after_begin: /^(StreamingInputCall CANCELLED)?$/,
  // grpc-js ends its side of the call before it resets it, and the server may be done by then.
  cancel_after_first_response: /^FullDuplexCall (CANCELLED|OK)$/,
  timeout_on_sleeping_server: /^(FullDuplexCall (DEADLINE_EXCEEDED|CANCELLED))?$/,
  status_code_and_message:
    /^(UnaryCall|FullDuplexCall) UNKNOWN,(UnaryCall|FullDuplexCall) UNKNOWN$/,
  special_status_message: /^UnaryCall UNKNOWN$/,
  unimplemented_method: /^UnimplementedCall UNIMPLEMENTED$/,
  unimplemented_service: /^$/,
};
const ALL_OK = /^\w+ OK(,\w+ OK)*$/;

/** One case, and whether the server has counted its calls and holds nothing afterwards. */
async function judge(
  scope: Scope,
  name: string,
  run: (address: string) => Promise<void>,
): Promise<void> {
  const server = await startTestServer(scope);
  await run(server.address);
  const expected = ENDINGS[name] ?? ALL_OK;
  await eventually('the calls are counted', () => expected.test(server.ended.join()), 5_000).catch(
    () => assert.match(server.ended.join(), expected),
  );
  await eventually('nothing is held', () => server.held() === 0);
}

describe('interop cases by grpc-js', () => {
  for (const name of NAMES) {
    test(name, LIMIT, (t) => judge(t, name, async (address) => CASES[name]?.(t, address)));
  }
});

const python = pythonWith(['grpc', 'grpc_tools.protoc']);
const noPython = 'no Python with grpcio and grpcio-tools, in tools/.venv or as python3';

describe('interop cases by grpcio', python === null ? { skip: noPython } : {}, () => {
  for (const name of NAMES) {
    test(name, LIMIT, (t) =>
      judge(t, name, async (address) => {
        const args = ['test/interop/interop_client.py', TESTING_PROTO, address, name];
        const { code, stderr } = await runProgram(t, python ?? '', args);
        assert.equal(code, 0, stderr);
      }),
    );
  }
});

const go = goClient();

describe('interop cases by grpc-go', 'missing' in go ? { skip: go.missing } : {}, () => {
  for (const name of NAMES) {
    test(name, LIMIT, (t) =>
      judge(t, name, async (address) => {
        const { code, stderr } = await runProgram(t, 'program' in go ? go.program : '', [
          'case',
          address,
          name,
        ]);
        assert.equal(code, 0, stderr);
      }),
    );
  }
});
