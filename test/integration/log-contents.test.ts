/**
 * Neither the log at its lowest level nor traces contain anything of an image, its predictions, or
 * a secret.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { failureOf, PlainClient } from '../support/grpc-client.js';
import { exactPng } from '../support/images.js';
import { startOtlpReceiver } from '../support/otlp-receiver.js';
import { MODELS, ON_CPU, ONE_EACH, ServerProcess } from '../support/server.js';

const TOKEN = 'token-of-a-caller-0123456789abcdef';
const SECRET = 'what-a-caller-sends-in-metadata';
const MARK = 'what-is-written-in-an-image';

test('logs and traces of calls contain nothing of their contents', async (t) => {
  const { labels } = JSON.parse(readFileSync(join(MODELS, 'vit-cifar10/1/model.json'), 'utf8')) as {
    labels: string[];
  };
  const receiver = await startOtlpReceiver(t);
  const folder = mkdtempSync(join(tmpdir(), 'vitserve-log-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'tokens'), `${TOKEN}\n`);
  const flags = [
    '--log-level',
    'trace',
    '--log-sample',
    '1',
    '--token-file',
    join(folder, 'tokens'),
  ];
  const server = await ServerProcess.start(t, [...ON_CPU, ...ONE_EACH, ...flags], {
    environment: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=${SECRET}`,
    },
  });
  const client = new PlainClient(t, server.address, {}, { token: TOKEN });
  const { file } = await exactPng(1);
  const metadata = { 'x-api-key': SECRET, 'x-request-id': 'sane' };
  const { predictions } = await client.classify(
    { image: Buffer.concat([file, Buffer.from(MARK)]) },
    { metadata },
  );
  await failureOf(client.classify({ image: Buffer.from(MARK) }, { metadata }));
  await failureOf(client.classify({ image: file, model: SECRET }, { metadata }));
  await server.stop();

  const said = [
    JSON.stringify(server.lines),
    JSON.stringify(receiver.spans, (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    ),
  ];
  assert.match(said[0] ?? '', /"requestId":"sane"/);
  assert.match(said[1] ?? '', /"vitserve.request_id":"sane"/);
  for (const text of said) {
    for (const secret of [
      TOKEN,
      SECRET,
      MARK,
      Buffer.from(MARK).toString('base64'),
      Buffer.from(MARK).toString('hex'),
    ]) {
      assert.ok(!text.includes(secret), secret);
    }
    for (const label of labels) assert.doesNotMatch(text, new RegExp(`\\b${label}\\b`), label);
    for (const { score } of predictions) assert.ok(!text.includes(String(score)), `score ${score}`);
  }
});
