import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { requireDecodable, sniffFormat } from '#vitserve/decode/sniff.js';
import { RequestError } from '#vitserve/errors.js';
import { REPOSITORY } from '../../golden/golden.js';

const STARTS: Record<string, string> = {
  jpeg: '\xff\xd8\xff\xe0\0\x10JFIF\0',
  png: '\x89PNG\r\n\x1a\n\0\0\0\rIHDR',
  webp: 'RIFF\x24\0\0\0WEBPVP8 ',
  gif: 'GIF89a\x01\0\x01\0',
  tiff: 'II*\0\x08\0\0\0',
  bmp: 'BM\x36\0\0\0',
  ico: '\0\0\x01\0\x01\0\x10\x10',
  avif: '\0\0\0\x1cftypavif\0\0\0\0',
  heif: '\0\0\0\x18ftypheic\0\0\0\0',
  jpeg2000: '\0\0\0\x0cjP  \r\n\x87\n',
  jpegxl: '\xff\x0a\xfa\x1f',
  psd: '8BPS\0\x01',
  sgi: '\x01\xda\x01\x01',
  svg: '<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg">',
  xml: '<?xml version="1.0"?><note/>',
  html: '<!DOCTYPE html><title>404</title>',
  pdf: '%PDF-1.7\n',
  gzip: '\x1f\x8b\x08\0',
  zip: 'PK\x03\x04\x14\0',
};

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

for (const [format, start] of Object.entries(STARTS)) {
  test(`bytes that begin like ${format} are told`, () => {
    assert.equal(sniffFormat(latin1(start)), format);
  });
}

test('svg is told without a prologue and behind a byte order mark', () => {
  assert.equal(sniffFormat(latin1('<svg width="1"/>')), 'svg');
  assert.equal(sniffFormat(latin1('\xef\xbb\xbf  \n<SVG/>')), 'svg');
});

test('what only resembles a known format is unknown', () => {
  for (const text of ['', '\xff\xd8', '\x89PNG', 'RIFF\x24\0\0\0WAVEfmt ', '<b>', 'hello', '\0\0\0\x18ftypisom']) {
    assert.equal(sniffFormat(latin1(text)), 'unknown', JSON.stringify(text));
  }
});

test('a refusal names what was found and what is taken', () => {
  const refusal = (bytes: Buffer, reason: string, message: RegExp): void => {
    assert.throws(
      () => requireDecodable(bytes),
      (error) => error instanceof RequestError && error.reason === reason && message.test(error.message),
    );
  };
  refusal(Buffer.alloc(0), 'IMAGE_EMPTY', /empty.*JPEG, PNG or WebP/);
  refusal(latin1('GIF89a'), 'IMAGE_UNSUPPORTED', /looks like GIF.*JPEG, PNG or WebP/);
  refusal(latin1('what?'), 'IMAGE_UNSUPPORTED', /no known format.*JPEG, PNG or WebP/);
  assert.equal(requireDecodable(latin1(STARTS.webp ?? '')), 'webp');
});

test('sniffing loads no native code, so that the front may call it', () => {
  const built = readFileSync(new URL('dist/decode/sniff.js', REPOSITORY), 'utf8');
  const imported = [...built.matchAll(/from '([^']+)'/g)].map((match) => match[1]);
  assert.deepEqual(imported, ['../errors.js']);
});
