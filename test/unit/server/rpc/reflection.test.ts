/** The descriptors of reflection, linked as strictly as the strictest client links them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PackageDefinition } from '@grpc/proto-loader';
import descriptor, {
  type IDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor/index.js';
import { loadContract, SERVICE_NAME } from '#vitserve/contract/contract.js';
import { withLinkedDescriptors } from '#vitserve/server/rpc/reflection.js';

const { FileDescriptorProto } = descriptor;

function filesOf(definition: PackageDefinition): ReadonlyMap<string, IFileDescriptorProto> {
  const files = new Map<string, IFileDescriptorProto>();
  for (const entry of Object.values(definition)) {
    if (!Array.isArray(entry.fileDescriptorProtos)) continue;
    for (const bytes of entry.fileDescriptorProtos) {
      const file = FileDescriptorProto.decode(bytes) as IFileDescriptorProto;
      files.set(file.name ?? '', file);
    }
  }
  return files;
}

/** Messages of a file by full name, nested ones included. */
function messagesOf(file: IFileDescriptorProto): [name: string, message: IDescriptorProto][] {
  const walk = (scope: string, message: IDescriptorProto): [string, IDescriptorProto][] => {
    const name = `${scope}.${message.name}`;
    return [[name, message], ...(message.nestedType ?? []).flatMap((nested) => walk(name, nested))];
  };
  return (file.messageType ?? []).flatMap((message) => walk(`.${file.package}`, message));
}

function declaredIn(file: IFileDescriptorProto): string[] {
  const messages = messagesOf(file);
  const nested = messages.flatMap(([name, { enumType }]) =>
    (enumType ?? []).map((each) => `${name}.${each.name}`),
  );
  const enums = (file.enumType ?? []).map(({ name }) => `.${file.package}.${name}`);
  return [...messages.map(([name]) => name), ...nested, ...enums];
}

function referredToIn(file: IFileDescriptorProto): string[] {
  const fields = messagesOf(file).flatMap(([, { field }]) =>
    (field ?? []).map(({ typeName }) => typeName),
  );
  const methods = (file.service ?? []).flatMap(({ method }) => method ?? []);
  const types = methods.flatMap(({ inputType, outputType }) => [inputType, outputType]);
  return [...fields, ...types].filter((name): name is string => Boolean(name));
}

const files = filesOf(withLinkedDescriptors(loadContract().definition));

describe('every file', () => {
  test('has options for generated code only where they hold for all of its content', () => {
    const goPackages = [...files.values()].map(({ package: name, options }) => [
      name,
      options?.goPackage ?? null,
    ]);
    assert.deepEqual(Object.fromEntries(goPackages), {
      'vitserve.v1': 'vitserve/v1;vitservev1',
      'grpc.health.v1': 'google.golang.org/grpc/health/grpc_health_v1',
      'google.rpc': null,
      'google.protobuf': null,
    });
  });

  test('that a file imports is there', () => {
    for (const { name, dependency } of files.values()) {
      for (const imported of dependency ?? [])
        assert.ok(files.has(imported), `${name} imports ${imported}`);
    }
  });

  test('refers to types by their absolute names, and imports the files that declare them and no others', () => {
    let references = 0;
    for (const file of files.values()) {
      const needed = new Set<string>();
      for (const type of referredToIn(file)) {
        references++;
        assert.ok(type.startsWith('.'), `${file.name} refers to ${type}`);
        const home = [...files.values()].find((other) => declaredIn(other).includes(type));
        assert.ok(home, `nothing declares ${type}`);
        if (home.name !== file.name) needed.add(home.name ?? '');
      }
      assert.deepEqual([...(file.dependency ?? [])].sort(), [...needed].sort(), file.name ?? '');
    }
    assert.ok(references > 20, 'the contract has many references');
  });

  test('declares types that no other one declares', () => {
    const names = [...files.values()].flatMap(declaredIn);
    assert.equal(new Set(names).size, names.length);
    for (const name of [
      '.vitserve.v1.ClassifyRequest',
      '.google.rpc.Status',
      '.google.rpc.BadRequest.FieldViolation',
    ]) {
      assert.ok(names.includes(name), name);
    }
  });
});

test('well-known types lie in the files in which every client has them', () => {
  for (const [name, type] of [
    ['google/protobuf/duration.proto', '.google.protobuf.Duration'],
    ['google/protobuf/any.proto', '.google.protobuf.Any'],
  ] as const) {
    const file = files.get(name);
    assert.ok(file, name);
    assert.deepEqual(declaredIn(file), [type]);
  }
});

test('the service is declared with its methods', () => {
  const services = [...files.values()].flatMap((file) =>
    (file.service ?? []).map(
      ({ name, method }) => [`${file.package}.${name}`, method?.length] as const,
    ),
  );
  assert.equal(new Map(services).get(SERVICE_NAME), 6);
});

test('fields and map entries have the names that protoc gives them', () => {
  const messages = [...files.values()].flatMap((file) => file.messageType ?? []);
  const fieldsOf = (name: string) => messages.find((message) => message.name === name)?.field ?? [];
  const topK = fieldsOf('ClassifyRequest').find(({ number }) => number === 3);
  assert.deepEqual([topK?.name, topK?.jsonName], ['top_k', 'topK']);
  const list = messages.find(({ name }) => name === 'HealthListResponse');
  assert.deepEqual(
    list?.nestedType?.map(({ name }) => name),
    ['StatusesEntry'],
  );
  assert.equal(list?.field?.[0]?.typeName, '.grpc.health.v1.HealthListResponse.StatusesEntry');
});

test('definitions that are not messages are left out, and the given definition is unchanged', () => {
  const { definition } = loadContract();
  const before = JSON.stringify([...filesOf(definition).values()]);
  const linked = withLinkedDescriptors(definition);
  assert.ok(SERVICE_NAME in definition && !(SERVICE_NAME in linked));
  assert.equal(JSON.stringify([...filesOf(definition).values()]), before);
});
