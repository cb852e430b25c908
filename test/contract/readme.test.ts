/**
 * The README's commands are run as they stand, against a server started by the README's own
 * command, and print what the README says they print (figures aside). So are the commands of the
 * quickstart that ask a running server. What needs a tool that is not here is skipped, and says so.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import sharp from 'sharp';
import { type Block, blocksOf, REPOSITORY, read, readJson } from './repository.js';
import { drawSample, SAMPLE_HEIGHT, SAMPLE_WIDTH } from './sample.js';

const SAMPLE = 'docs/images/ship.png';
const INSTALL = 'npm ci && ';
const README_ADDRESS = '127.0.0.1:50051';
const HTTP_ADDRESS = '127.0.0.1:8080';
const blocks = blocksOf('README.md');
const QUICKSTART = 'docs/start/quickstart.md';

/** Every block with something to run, and the test below that runs it. */
const RUNNABLE = ['start', 'check', 'classify', 'grpcurl'];

function block(name: string, path = 'README.md'): Block {
  const found = blocksOf(path).find((candidate) => candidate.name === name);
  assert.ok(found, `${path} has a block named ${name}`);
  return found;
}

/** Text with its figures, bars and the model's classes masked, and runs of blanks as one. */
function shapeOf(text: string, labels: readonly string[]): string {
  return text
    .replace(new RegExp(`\\b(${labels.join('|')})\\b`, 'g'), 'LABEL')
    .replace(/█+/g, '')
    .replace(/\d+(\.\d+)?(e-\d+)?/g, 'N')
    .replace(/[^\S\n]+/g, ' ')
    .replace(/ $/gm, '')
    .trim();
}

/** The tests' environment without what marks it as one. */
function environment(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      name !== 'NODE_TEST_CONTEXT' && !name.startsWith('VITSERVE_') && !name.startsWith('npm_'),
  );
  return { ...Object.fromEntries(kept), ...more };
}

function shell(text: string, cwd: string, more: Readonly<Record<string, string>> = {}) {
  return spawnSync('bash', ['-euo', 'pipefail', '-c', text], {
    cwd,
    env: environment(more),
    encoding: 'utf8',
    timeout: 120_000,
  });
}

test('every block with commands is run here', () => {
  const runnable = blocks.filter(({ language }) => language === 'sh' || language === 'python');
  assert.deepEqual(runnable.map(({ name }) => name).sort(), [...RUNNABLE].sort());
});

test('the sample is the picture that is drawn for it', async () => {
  const path = join(REPOSITORY, SAMPLE);
  assert.ok(statSync(path).size < 20_000);
  const { data, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true });
  assert.deepEqual([info.width, info.height, info.channels], [SAMPLE_WIDTH, SAMPLE_HEIGHT, 3]);
  assert.ok(data.equals(drawSample()));
});

test('the two command lines are scripts of the project, and CI runs the same', () => {
  const { scripts } = readJson<{ scripts: Readonly<Record<string, string>> }>('package.json');
  assert.equal(block('start').text.trim(), `${INSTALL}npm start`);
  assert.equal(block('check').text.trim(), `${INSTALL}npm test`);
  for (const name of ['start', 'test']) assert.ok(name in scripts, name);
  const ci = read('.ci/run').split('\n');
  for (const command of block('check').text.trim().split(' && '))
    assert.ok(ci.includes(command), command);
});

describe('with the server that the README starts', () => {
  const { labels } = readJson<{ labels: readonly string[] }>('models/vit-cifar10/1/model.json');
  let server: ChildProcess;
  let address = '';
  let http = '';

  before(async () => {
    // What is installed stays: this test runs from it. Free ports, because the README's may be
    // taken.
    const command = block('start').text.trim().slice(INSTALL.length);
    server = spawn('bash', ['-c', `exec ${command}`], {
      cwd: REPOSITORY,
      env: environment({
        VITSERVE_ADDRESS: '127.0.0.1:0',
        VITSERVE_HTTP_ADDRESS: '127.0.0.1:0',
        VITSERVE_EXECUTION_PROVIDER: 'cpu',
        VITSERVE_LOG_FORMAT: 'json',
      }),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    assert.ok(server.stdout);
    const printed: string[] = [];
    for await (const line of createInterface({ input: server.stdout })) {
      printed.push(line);
      if (!line.startsWith('{')) continue;
      const entry = JSON.parse(line) as { msg: string; address: string; http: string };
      if (entry.msg === 'serving') {
        ({ address, http } = entry);
        break;
      }
    }
    assert.notEqual(address, '', `the server did not start:\n${printed.join('\n')}`);
    server.stdout.resume();
  });

  after(async () => {
    if (server.exitCode === null && server.signalCode === null) {
      server.kill('SIGTERM');
      await once(server, 'exit');
    }
  });

  const here = (text: string) => text.replaceAll(README_ADDRESS, address);

  test('vitserve classify prints what the README shows', () => {
    const { stdout, stderr, status } = shell(block('classify').text, REPOSITORY, {
      VITSERVE_ADDRESS: address,
    });
    assert.equal(status, 0, stderr);
    const shown = block('classify-output').text;
    assert.equal(shapeOf(stdout, labels), shapeOf(shown, labels));
    const best = (text: string) => text.split('\n')[1]?.trim().split(' ')[0];
    assert.equal(
      best(stdout),
      best(shown),
      'the best label is another one: show in the README what is printed now',
    );
  });

  test('grpcurl prints what the README shows', (t) => {
    const { text } = block('grpcurl');
    assert.ok(text.includes(`${README_ADDRESS} vitserve.v1.ClassificationService/Classify`));
    if (spawnSync('grpcurl', ['-version']).error)
      return t.skip('there is no grpcurl on this machine');
    const { stdout, stderr, status } = shell(here(text), REPOSITORY);
    assert.equal(status, 0, stderr);
    assert.equal(shapeOf(stdout, labels), shapeOf(block('grpcurl-output').text, labels));
  });

  test('the quickstart looks at the server with vitserve inspect', () => {
    const { text } = block('live', QUICKSTART);
    const { stdout, stderr, status } = shell(
      `vitserve() { node dist/main.js "$@"; }\n${text}`,
      REPOSITORY,
      { VITSERVE_HTTP_ADDRESS: http },
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^vitserve at \S+: serving\n/);
  });

  test('the quickstart asks whether the server is ready', (t) => {
    const { text } = block('ready', QUICKSTART);
    assert.ok(text.includes(HTTP_ADDRESS));
    if (spawnSync('curl', ['--version']).error) return t.skip('there is no curl on this machine');
    const { stderr, status } = shell(text.replaceAll(HTTP_ADDRESS, http), REPOSITORY);
    assert.equal(status, 0, stderr);
  });
});
