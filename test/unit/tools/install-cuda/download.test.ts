/** Pages of package indices, in both of their forms. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkIn } from '#vitserve/tools/install-cuda/download.js';

const FILE = 'onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl';

test('PEP 691: JSON', () => {
  const page = JSON.stringify({
    files: [
      { filename: `${FILE}.metadata`, url: 'https://files.example/no' },
      { filename: FILE, url: 'https://files.example/a/b' },
    ],
  });
  assert.equal(linkIn(page, FILE), 'https://files.example/a/b');
  assert.equal(linkIn('{"files":[]}', FILE), null);
  assert.equal(linkIn('{}', FILE), null);
});

test('PEP 503: HTML, with relative links, hashes, queries and escapes', () => {
  const page = (href: string) =>
    `<!DOCTYPE html><a href="../x/other.whl">other</a>\n<a class="file"\n href='${href}'>it</a>`;
  for (const href of [
    `../../packages/${FILE}#sha256=00`,
    `/f/${FILE}?a=1&amp;b=2`,
    `/f/${FILE.replace('_gpu', '%5Fgpu')}`,
  ]) {
    assert.equal(linkIn(page(href), FILE), href.replace('&amp;', '&'));
  }
  assert.equal(linkIn(page(`/${FILE}.metadata`), FILE), null);
  assert.equal(linkIn('<html>no links</html>', FILE), null);
});
