/**
 * What server reflection publishes.
 *
 * proto-loader merges all files of a package into one descriptor and leaves the list of imports
 * empty (grpc/grpc-node#2595). Clients that link descriptors strictly, such as Python's descriptor
 * pool, cannot use that. This file makes type names absolute, fills in the imports, and gives the
 * well-known types the file names under which every client has them.
 */
import type { AnyDefinition, MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader';
import descriptor, {
  type IDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor/index.js';

const { FileDescriptorProto } = descriptor;

/** The standard file of each well-known type that the contract uses. */
const WELL_KNOWN_FILES: Readonly<Record<string, string>> = {
  Duration: 'google/protobuf/duration.proto',
  Any: 'google/protobuf/any.proto',
};

/**
 * It consists of several files, each with its own options, such as the Go package. The merged file
 * would have those of the last.
 */
const MERGED_PACKAGE = 'google.rpc';

/** The messages of the definition, with descriptors that a client can link. */
export function withLinkedDescriptors(definition: PackageDefinition): PackageDefinition {
  const messages = Object.entries(definition).filter(
    (entry): entry is [string, MessageDefinition] => isMessage(entry[1]),
  );
  const merged = new Map<string, IFileDescriptorProto>();
  for (const [, { fileDescriptorProtos }] of messages) {
    for (const bytes of fileDescriptorProtos) {
      const file = FileDescriptorProto.decode(bytes) as IFileDescriptorProto;
      if (file.package === MERGED_PACKAGE) delete file.options;
      merged.set(file.name ?? '', file);
    }
  }
  for (const file of merged.values())
    for (const message of file.messageType ?? []) restoreNames(message);
  const files = [...merged.values()].flatMap(splitWellKnown);
  const fileOf = new Map(
    files.flatMap((file) => typeNames(file).map((name) => [name, file.name ?? ''] as const)),
  );
  const fileDescriptorProtos = files.map((file) => {
    const imports = new Set<string>();
    link(file, (name, scope) => {
      const found = resolve(name, scope, fileOf);
      imports.add(fileOf.get(found) ?? '');
      return `.${found}`;
    });
    imports.delete(file.name ?? '');
    return Buffer.from(FileDescriptorProto.encode({ ...file, dependency: [...imports] }).finish());
  });
  return Object.fromEntries(
    messages.map(([name, message]) => [name, { ...message, fileDescriptorProtos }]),
  );
}

type MessageDefinition = MessageTypeDefinition<object, object>;

function isMessage(definition: AnyDefinition): definition is MessageDefinition {
  return Array.isArray(definition.fileDescriptorProtos);
}

/**
 * Restores the names that `protoc` gives: protobufjs has fields in camel case, and calls the entry
 * type of a map `Statuses` where clients expect `StatusesEntry`.
 */
function restoreNames(message: IDescriptorProto): void {
  for (const nested of message.nestedType ?? []) {
    restoreNames(nested);
    if (nested.options?.mapEntry !== true) continue;
    const field = message.field?.find(({ typeName }) => typeName === nested.name);
    nested.name = `${nested.name}Entry`;
    if (field) field.typeName = nested.name;
  }
  for (const field of message.field ?? []) {
    field.jsonName = field.name ?? '';
    field.name = field.name?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) ?? '';
  }
}

/** Splits `google.protobuf` into one file per type; leaves any other file as it is. */
function splitWellKnown(file: IFileDescriptorProto): IFileDescriptorProto[] {
  if (file.package !== 'google.protobuf') return [file];
  return (file.messageType ?? []).map((message) => {
    const name = WELL_KNOWN_FILES[message.name ?? ''];
    if (name === undefined)
      throw new Error(`reflection: no file name is known for google.protobuf.${message.name}`);
    return { ...file, name, messageType: [message] };
  });
}

/** Full names of the messages and enums in a file, nested ones included. */
function typeNames(file: IFileDescriptorProto): string[] {
  const scope = file.package ?? '';
  const ofMessage = (prefix: string, message: IDescriptorProto): string[] => {
    const name = `${prefix}.${message.name}`;
    const nested = (message.nestedType ?? []).flatMap((inner) => ofMessage(name, inner));
    return [name, ...(message.enumType ?? []).map((inner) => `${name}.${inner.name}`), ...nested];
  };
  const enums = (file.enumType ?? []).map(({ name }) => `${scope}.${name}`);
  return [...enums, ...(file.messageType ?? []).flatMap((message) => ofMessage(scope, message))];
}

/** Replaces every reference to a type. `replace` gets the name as written, and its scope. */
function link(file: IFileDescriptorProto, replace: (name: string, scope: string) => string): void {
  const linkMessage = (prefix: string, message: IDescriptorProto): void => {
    const scope = `${prefix}.${message.name}`;
    for (const field of message.field ?? [])
      if (field.typeName) field.typeName = replace(field.typeName, scope);
    for (const nested of message.nestedType ?? []) linkMessage(scope, nested);
  };
  const scope = file.package ?? '';
  for (const message of file.messageType ?? []) linkMessage(scope, message);
  for (const method of (file.service ?? []).flatMap((service) => service.method ?? [])) {
    if (method.inputType) method.inputType = replace(method.inputType, scope);
    if (method.outputType) method.outputType = replace(method.outputType, scope);
  }
}

/**
 * The rule of protobuf: the innermost scope that knows the name. A leading dot marks a full name.
 */
function resolve(name: string, scope: string, known: ReadonlyMap<string, string>): string {
  if (name.startsWith('.')) return name.slice(1);
  for (
    let prefix = scope;
    prefix !== '';
    prefix = prefix.slice(0, Math.max(prefix.lastIndexOf('.'), 0))
  ) {
    if (known.has(`${prefix}.${name}`)) return `${prefix}.${name}`;
  }
  if (known.has(name)) return name;
  throw new Error(`reflection: ${scope} refers to ${name}, which no file declares`);
}
