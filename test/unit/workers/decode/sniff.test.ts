import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { RequestError } from '#vitserve/errors.js';
import { createImageDecoder } from '#vitserve/workers/decode/decode-image.js';
import { FOREIGN_FORMATS } from '#vitserve/workers/decode/foreign-formats.js';
import { requireDecodable, sniffDecodable } from '#vitserve/workers/decode/sniff.js';
import { REPOSITORY } from '../../../golden/golden.js';
import { readTable } from '../../../support/document-table.js';
import { damagedImages, FOREIGN_STARTS, notImages } from '../../../support/not-images.js';

const DOCUMENT = 'docs/reference/errors.md';
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

const TAKEN = {
  jpeg: '\xff\xd8\xff\xe0\0\x10JFIF\0',
  png: '\x89PNG\r\n\x1a\n\0\0\0\rIHDR',
  webp: 'RIFF\x24\0\0\0WEBPVP8 ',
} as const;

for (const [format, start] of Object.entries(TAKEN)) {
  test(`bytes that begin like ${format} are accepted, and fewer are not`, () => {
    assert.equal(requireDecodable(latin1(start)), format);
    const signature = { jpeg: 3, png: 8, webp: 12 }[format as keyof typeof TAKEN];
    for (let end = 0; end < signature; end++)
      assert.equal(sniffDecodable(latin1(start).subarray(0, end)), null);
  });
}

/** The error for some bytes. */
function refusal(bytes: Buffer): string {
  try {
    requireDecodable(bytes);
  } catch (error) {
    assert.ok(error instanceof RequestError);
    assert.equal(error.reason, bytes.length === 0 ? 'IMAGE_EMPTY' : 'IMAGE_UNSUPPORTED');
    return error.message;
  }
  assert.fail('it was taken for an image');
}

test('no bytes at all', () => {
  assert.match(refusal(Buffer.alloc(0)), /empty.*JPEG, PNG or WebP/);
});

describe('the named formats', () => {
  for (const [name, starts] of Object.entries(FOREIGN_STARTS)) {
    test(name, () => {
      for (const start of starts) {
        assert.equal(
          refusal(latin1(start)),
          `the image looks like ${name}: send a JPEG, PNG or WebP file`,
        );
      }
    });
  }

  test('are all those of the table, and of the document', () => {
    assert.deepEqual(Object.keys(FOREIGN_STARTS).sort(), [...FOREIGN_FORMATS].sort());
    const [, listed = ''] =
      readFileSync(new URL(DOCUMENT, REPOSITORY), 'utf8').match(/^Named are (.*?)\.\n\n/ms) ?? [];
    const documented = [...listed.matchAll(/`([^`]+)`/g)].map(([, name = '']) =>
      name.replace('\n', ' '),
    );
    assert.deepEqual(
      documented,
      Object.keys(FOREIGN_STARTS),
      `${DOCUMENT} should say\n${sentence()}`,
    );
  });

  function sentence(): string {
    return `Named are ${Object.keys(FOREIGN_STARTS)
      .map((name) => `\`${name}\``)
      .join(', ')}.`;
  }
});

describe('bytes in place of an image', async () => {
  const table = new Map(
    readTable(DOCUMENT, 'No image').map(([what = '', message]) => [what, message]),
  );
  const kinds = await notImages();

  for (const what of new Set(kinds.map((kind) => kind.what))) {
    test(what, () => {
      for (const { bytes } of kinds.filter((kind) => kind.what === what)) {
        const message = refusal(bytes);
        const start = bytes.toString('latin1', 0, 40);
        assert.equal(
          table.get(what),
          message,
          `${DOCUMENT} should have\n| ${what} | \`${message}\` |\n${start}`,
        );
      }
    });
  }

  const damaged = await damagedImages();
  const { decode } = createImageDecoder({ maxImagePixels: 1_000_000 });
  for (const what of new Set(damaged.map((file) => file.what))) {
    test(what, async () => {
      for (const { bytes } of damaged.filter((file) => file.what === what)) {
        const error: unknown = await decode(bytes).catch((thrown: unknown) => thrown);
        assert.ok(error instanceof RequestError, `${bytes.length} bytes`);
        assert.equal(error.reason, 'IMAGE_UNDECODABLE');
        assert.equal(
          table.get(what),
          error.message,
          `${DOCUMENT} should have\n| ${what} | \`${error.message}\` |`,
        );
      }
    });
  }

  test('every row of the document is tested', () => {
    const tested = [...kinds, ...damaged].map(({ what }) => what);
    assert.deepEqual([...table.keys()], [...new Set(tested)]);
  });

  test('are not repeated: a secret in them is in no message', () => {
    const secret = 'hunter2';
    const carriers = [
      'https://me:SECRET@example.com/',
      '/home/SECRET/cat.jpg',
      '{"token":"SECRET"}',
      'SECRET',
      '<SECRET>',
    ];
    for (const carrier of [
      ...carriers,
      'data:SECRET;base64,xx',
      '--SECRET\r\nContent-Type: x\r\n',
      'SECRET\xff\xd8\xff',
    ]) {
      const message = refusal(latin1(carrier.replace('SECRET', secret)));
      assert.ok(!message.includes(secret), message);
      assert.ok(Buffer.byteLength(message) < 200, message);
    }
  });

  test('are judged by the first 512 bytes alone', () => {
    for (const { bytes } of kinds) {
      if (bytes.length < 512) continue;
      const longer = Buffer.concat([bytes.subarray(0, 512), Buffer.alloc(1 << 16, 0xff)]);
      assert.equal(
        refusal(longer),
        refusal(Buffer.concat([bytes.subarray(0, 512), Buffer.alloc(1)])),
      );
    }
  });
});

test('sniffing loads no native code, so that the front may call it', () => {
  const seen = new Set<string>();
  const look = (file: URL): void => {
    if (seen.has(file.pathname)) return;
    seen.add(file.pathname);
    for (const [, module = ''] of readFileSync(file, 'utf8').matchAll(/from '([^']+)'/g)) {
      if (module.startsWith('.')) look(new URL(module, file));
      else assert.match(module, /^node:buffer$/, `${file.pathname} imports it`);
    }
  };
  look(new URL('dist/workers/decode/sniff.js', REPOSITORY));
  assert.deepEqual([...seen].map((path) => path.slice(path.lastIndexOf('/dist/'))).sort(), [
    '/dist/errors.js',
    '/dist/workers/decode/foreign-formats.js',
    '/dist/workers/decode/sniff.js',
    '/dist/workers/decode/transport-mistakes.js',
  ]);
});
