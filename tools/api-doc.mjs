// docs/reference/api.md, from the comments in proto/vitserve/v1/classification.proto. Run by `npm
// run generate`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const SOURCE = 'proto/vitserve/v1/classification.proto';
const root = fileURLToPath(new URL('..', import.meta.url));

const oneLine = (text) => (text ?? '').replace(/\s+/g, ' ').replaceAll('|', '\\|').trim();
const paragraphs = (text) =>
  (text ?? '')
    .split(/\n\s*\n/)
    .map(oneLine)
    .join('\n\n');

export function renderApiDoc() {
  const source = readFileSync(join(root, SOURCE), 'utf8');
  const parsed = protobuf.parse(source, { keepCase: true, alternateCommentMode: true });
  const elements = parsed.root.lookup(parsed.package).nestedArray;
  const names = new Set(elements.map(({ name }) => name));
  /** A type of this file leads to its section. */
  const type = (name, prefix = '') =>
    `${prefix}${names.has(name) ? `[\`${name}\`](#${name.toLowerCase()})` : `\`${name}\``}`;

  const method = (one) =>
    `| \`${one.name}\` | ${type(one.requestType, one.requestStream ? 'stream of ' : '')} | ` +
    `${type(one.responseType, one.responseStream ? 'stream of ' : '')} | ${oneLine(one.comment)} |`;
  const field = (one) => {
    const choice = one.partOf === null ? '' : ` One of \`${one.partOf.name}\`.`;
    return `| ${one.id} | \`${one.name}\` | ${type(one.type, one.repeated ? 'repeated ' : '')} | ${oneLine(one.comment)}${choice} |`;
  };
  const lines = [
    `<!-- Generated from ${SOURCE} by npm run generate. Edit that file. -->`,
    '',
    '# API',
    '',
    `The package \`${parsed.package}\`, from the comments of [its proto](../../${SOURCE}). [errors.md](errors.md) has`,
    'the errors, [clients.md](../start/clients.md) has clients in other languages.',
    '',
  ];
  for (const element of elements) {
    lines.push(`## ${element.name}`, '', paragraphs(element.comment), '');
    if (element instanceof protobuf.Service) {
      lines.push(
        '| Method | Takes | Gives | |',
        '|---|---|---|---|',
        ...element.methodsArray.map(method),
        '',
      );
    } else
      lines.push(
        '| Number | Field | Type | |',
        '|---|---|---|---|',
        ...element.fieldsArray.map(field),
        '',
      );
  }
  return lines.join('\n');
}
