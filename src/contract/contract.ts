/**
 * The contract, loaded from `proto/` for both the server and the client.
 *
 * One set of loader options serves both loading and the generated types (`tools/generate.mjs`
 * passes the same), so that the types match what arrives: camelCase names, Buffers, numbers for
 * 64-bit integers, names for enums.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type GrpcObject, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition, type PackageDefinition } from '@grpc/proto-loader';
import type { ProtoGrpcType as ClassificationProto } from './generated/classification.js';
import type { ProtoGrpcType as ErrorDetailsProto } from './generated/error_details.js';
import type { ProtoGrpcType as HealthProto } from './generated/health.js';

const PROTO_FOLDER = fileURLToPath(new URL('../../proto/', import.meta.url));

export const PROTO_FILES = [
  'vitserve/v1/classification.proto',
  'google/rpc/error_details.proto',
  'grpc/health/v1/health.proto',
] as const;

export const LOADER_OPTIONS = {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
} as const;

export const SERVICE_NAME = 'vitserve.v1.ClassificationService';

/** The domain of every `google.rpc.ErrorInfo` that vitserve sends. */
export const ERROR_DOMAIN = 'vitserve.v1';

export type Contract = ClassificationProto & HealthProto & ErrorDetailsProto;

let loaded: { readonly definition: PackageDefinition; readonly contract: Contract } | undefined;

/** Loads the protos once per process. `definition` is what reflection publishes. */
export function loadContract(): {
  readonly definition: PackageDefinition;
  readonly contract: Contract;
} {
  if (loaded === undefined) {
    const definition = loadSync([...PROTO_FILES], {
      ...LOADER_OPTIONS,
      includeDirs: [PROTO_FOLDER],
    });
    // The one place where the loaded objects meet their generated types.
    loaded = { definition, contract: loadPackageDefinition(definition) as GrpcObject & Contract };
  }
  return loaded;
}

/**
 * The recommended service config for clients, as JSON: all replicas in turn, and retries of what
 * the server marks as retryable. The file is for clients in every language; gRPC documents it in
 * its service_config.proto.
 */
export function readServiceConfig(): string {
  return readFileSync(`${PROTO_FOLDER}vitserve/v1/service-config.json`, 'utf8');
}

/**
 * A message type by its full name, to pack messages into `google.protobuf.Any` and to read them.
 */
export function messageType<Input extends object, Output extends object>(
  name: string,
): MessageTypeDefinition<Input, Output> {
  const found = loadContract().definition[name];
  if (found === undefined || !('serialize' in found))
    throw new Error(`the contract has no message ${name}`);
  return found as unknown as MessageTypeDefinition<Input, Output>;
}
