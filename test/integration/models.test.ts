/** Several models, called by name and changed while they are served, with real processes. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { type ClassifyResponse, failureOf, PlainClient, SERVICE } from '../support/grpc-client.js';
import { jpeg } from '../support/images.js';
import { Repository } from '../support/repository.js';
import {
  eventually,
  type LogLine,
  ON_CPU,
  ONE_EACH,
  type Scope,
  ServerProcess,
  suiteScope,
} from '../support/server.js';

const FLAGS = [...ON_CPU, '--permits', '32', '--model-repository'];
const image = await jpeg(1);

/** `large` has its labels in capitals, so that its answers differ from those of `small`. */
const inCapitals = (manifest: Record<string, unknown>) => ({
  ...manifest,
  labels: (manifest.labels as string[]).map((label) => label.toUpperCase()),
});
const larger = (manifest: Record<string, unknown>) => ({
  ...manifest,
  input: { ...(manifest.input as object), height: 64 },
  preprocessing: {
    ...(manifest.preprocessing as object),
    resize: { mode: 'squash', height: 64, width: 32 },
  },
});
const brokenHash = (manifest: Record<string, unknown>) => ({
  ...manifest,
  graph: { ...(manifest.graph as object), sha256: '0'.repeat(64) },
});

/** The lines of the log with this text, from the `from`th line on. */
const logged = (server: ServerProcess, msg: string, from = 0) =>
  server.lines.slice(from).filter((line) => line.msg === msg);

const versionOf = ({ model }: ClassifyResponse) => `${model.name}/${model.version}`;

/** A server of its own, with its repository. */
async function serving(
  scope: Scope,
  fill: (repository: Repository) => void,
  flags: readonly string[] = [],
  processes: readonly string[] = ONE_EACH,
) {
  const repository = new Repository(scope);
  fill(repository);
  const server = await ServerProcess.start(scope, [
    ...FLAGS,
    repository.folder,
    ...processes,
    ...flags,
  ]);
  const client = new PlainClient(scope, server.address);
  /** Requests a reload and waits for the line with its outcome. */
  const reload = async (msg: string, model: string) => {
    const from = server.lines.length;
    server.signal('SIGHUP');
    return await eventually(`"${msg}" of ${model}:\n${server.output}`, () =>
      logged(server, msg, from).find((line) => line.model === model),
    );
  };
  return { repository, server, client, reload };
}

describe('two models', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;

  before(async () => {
    ({ server, client } = await serving(
      scope,
      (repository) => {
        repository.put('small', 3);
        repository.put('large', 1, inCapitals);
      },
      ['--default-model', 'small'],
    ));
  });

  test('answer by name, and the default one without a name', async () => {
    const [unnamed, small, large] = await Promise.all(
      ['', 'small', 'large'].map((model) => client.classify({ image, model })),
    );
    assert.ok(unnamed && small && large);
    assert.deepEqual([unnamed, small, large].map(versionOf), ['small/3', 'small/3', 'large/1']);
    assert.deepEqual(unnamed.predictions, small.predictions);
    assert.deepEqual(
      large.predictions.map(({ label }) => label),
      small.predictions.map(({ label }) => label.toUpperCase()),
    );
    const embedded = await client.embed({ image, model: 'large' });
    assert.equal(embedded.model.name, 'large');
  });

  test('answer by name image by image in a stream', async () => {
    const stream = client.stream();
    for (const model of ['large', '', 'huge']) stream.send(model, { image, model });
    const answers = new Map((await stream.count(3)).map((message) => [message.requestId, message]));
    assert.equal(answers.get('large')?.response?.model.name, 'large');
    assert.equal(answers.get('')?.response?.model.name, 'small');
    assert.equal(
      answers.get('huge')?.status?.message,
      'no such model: this server has large, small',
    );
    stream.finish();
    assert.equal(await stream.ended, null);
  });

  test('are described by name and listed in pages', async () => {
    assert.equal((await client.getModel('large')).labels[0], 'AIRPLANE');
    assert.equal((await client.getModel('')).model.name, 'small');
    const first = await client.listModels({ pageSize: 1 });
    const second = await client.listModels({ pageSize: 1, pageToken: first.nextPageToken });
    assert.deepEqual(
      [first, second].map(({ models }) => models.map(({ model }) => model.name)),
      [['large'], ['small']],
    );
    assert.equal(second.nextPageToken, '');
    assert.deepEqual((await client.listModels()).models, [...first.models, ...second.models]);
    const bad = await failureOf(client.listModels({ pageToken: '*' }));
    assert.deepEqual([bad.reason, bad.field], ['PAGE_INVALID', 'page_token']);
    const negative = await failureOf(client.listModels({ pageSize: -1 }));
    assert.deepEqual([negative.reason, negative.field], ['PAGE_INVALID', 'page_size']);
  });

  test('are the only known ones', async () => {
    for (const ask of [
      () => client.classify({ image, model: 'huge' }),
      () => client.embed({ image, model: 'huge' }),
      () => client.getModel('huge'),
    ]) {
      const { code, reason, message } = await failureOf(ask());
      assert.deepEqual(
        [code, reason, message],
        ['NOT_FOUND', 'MODEL_UNKNOWN', 'no such model: this server has large, small'],
      );
    }
  });

  test('have their own health', async () => {
    const names = ['', SERVICE, `${SERVICE}/large`, `${SERVICE}/small`];
    for (const name of names) assert.equal(await client.check(name), 'SERVING');
    assert.equal((await failureOf(client.check(`${SERVICE}/huge`))).code, 'NOT_FOUND');
    const [ofLarge, ofServer] = [client.watch(`${SERVICE}/large`), client.watch('')];
    await Promise.all([ofLarge.count(1), ofServer.count(1)]);
    const processes = server.children('inference');
    const ready = (await server.get('/metrics')).text;
    assert.match(ready, /^vitserve_process_ready\{role="inference",index="1"\} 1$/m);
    // The models start in the order of their names.
    process.kill(
      processes.find(({ index }) => index === 0)?.pid ?? assert.fail('no such process'),
      'SIGKILL',
    );
    const told = (await ofLarge.count(3)).map(({ status }) => status);
    assert.deepEqual(told, ['SERVING', 'NOT_SERVING', 'SERVING']);
    assert.equal(ofServer.messages.length, 1);
  });

  test('are told apart in the metrics', async () => {
    for (const model of ['small', 'large']) {
      const before = await server.metric('vitserve_batch_size_sum', { model });
      await client.classify({ image, model });
      assert.equal(await server.metric('vitserve_batch_size_sum', { model }), before + 1);
    }
    const info = (
      (await server.get('/metrics')).text.match(/^vitserve_model_info\{.*/gm) ?? []
    ).sort();
    assert.deepEqual(info, [
      'vitserve_model_info{model="large",version="1",execution_provider="cpu"} 1',
      'vitserve_model_info{model="small",version="3",execution_provider="cpu"} 1',
    ]);
  });
});

describe('SIGHUP', () => {
  const scope = suiteScope();
  let repository: Repository;
  let server: ServerProcess;
  let client: PlainClient;
  let reload: (msg: string, model: string) => Promise<unknown>;
  const FAILED = 'model not loaded: serving what was served before';

  before(async () => {
    ({ repository, server, client, reload } = await serving(scope, (filled) =>
      filled.put('small', 1),
    ));
  });

  test('loads a new version and retires the old one', async () => {
    repository.put('small', 2, inCapitals);
    await reload('model served', 'small/2');
    const answer = await client.classify({ image });
    assert.equal(versionOf(answer), 'small/2');
    assert.equal(answer.predictions[0]?.label, answer.predictions[0]?.label.toUpperCase());
    await eventually('the old one is retired', () =>
      logged(server, 'model retired').some(({ model }) => model === 'small/1'),
    );
    await eventually('its process has ended', () => server.childPids().length === 2);
  });

  test('loads a new model, which a watch sees, and removes it again', async () => {
    const watch = client.watch(`${SERVICE}/other`);
    await watch.count(1);
    repository.put('other', 5);
    await reload('model served', 'other/5');
    assert.equal(versionOf(await client.classify({ image, model: 'other' })), 'other/5');
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
    repository.remove('other');
    await reload('model retired', 'other/5');
    assert.equal(
      (await failureOf(client.classify({ image, model: 'other' }))).reason,
      'MODEL_UNKNOWN',
    );
    assert.deepEqual(
      (await watch.count(3)).map(({ status }) => status),
      ['SERVICE_UNKNOWN', 'SERVING', 'SERVICE_UNKNOWN'],
    );
    assert.doesNotMatch((await server.get('/metrics')).text, /model="other"/);
  });

  test('with a broken version changes only the log and a counter', async () => {
    const series = (await server.get('/metrics')).text.split('\n').length;
    repository.put('small', 3, brokenHash);
    const line = (await reload(FAILED, 'small')) as {
      level: string;
      version: string;
      problems: string[];
    };
    assert.deepEqual([line.level, line.version, line.problems.length], ['error', '3', 1]);
    assert.match(line.problems[0] ?? '', /^model small\/3: .* is not the graph of the manifest/);
    assert.equal(await server.metric('vitserve_model_failures_total', { model: 'small' }), 1);
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
    assert.equal((await server.get('/metrics')).text.split('\n').length, series);
    repository.remove('small', '3');
  });

  test('with a graph that no process can load leaves no process and no series behind', async () => {
    const processes = server.childPids().sort();
    const folder = repository.put('small', 3, (manifest) => ({
      ...manifest,
      labels: ['one'],
    }));
    const line = (await reload(FAILED, 'small')) as { problems: string[] };
    assert.ok(
      line.problems.some((problem) =>
        problem.startsWith(`${folder}/model.onnx does not fit its manifest`),
      ),
      JSON.stringify(line),
    );
    assert.deepEqual(server.childPids().sort(), processes);
    assert.doesNotMatch((await server.get('/metrics')).text, /^vitserve_process_ready\{.*\} 0$/m);
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
    repository.remove('small', '3');
  });

  test('with more pixels than the slots hold rejects the version and says what to do', async () => {
    repository.put('small', 3, larger);
    assert.deepEqual(((await reload(FAILED, 'small')) as { problems: unknown }).problems, [
      "model small/3: its 64 × 32 pixels don't fit the slots, which have the size of the models at start: restart the server to serve it",
    ]);
    repository.remove('small', '3');
  });

  test('without the default model in the repository goes on serving it', async () => {
    repository.remove('small');
    const line = (await reload(FAILED, 'small')) as { problems: unknown };
    assert.deepEqual(line.problems, [
      'the default model is gone from the repository: put it back, or restart with another one',
    ]);
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
    assert.equal(await client.check(), 'SERVING');
  });
});

describe('a new version', () => {
  test('passes its smoke test while calls to a hanging one hold every permit', async (t) => {
    const { repository, server, client, reload } = await serving(t, (filled) =>
      filled.put('small', 1),
    );
    const thaw = await server.freeze(t, 'inference');
    const leaving = new AbortController();
    const held = Array.from({ length: 32 }, () =>
      failureOf(client.classify({ image }, { signal: leaving.signal })),
    );
    await server.metricIs('vitserve_permits_in_use', {}, 32);
    repository.put('small', 2);
    await reload('model served', 'small/2');
    leaving.abort();
    await Promise.all(held);
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
    thaw();
    await server.logged('model retired', ({ model }) => model === 'small/1');
  });

  test('that is loading when SIGTERM comes is abandoned, and the server stops', async (t) => {
    const { repository, server } = await serving(t, (filled) => filled.put('small', 1), [
      '--drain-delay',
      '0s',
    ]);
    const before = server.childPids();
    repository.put('small', 2);
    server.signal('SIGHUP');
    await eventually(
      'a process of the new version',
      () => server.childPids().length > before.length,
    );
    const since = performance.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - since < 5_000);
    await eventually('no child is left', () => server.childrenLeft().length === 0);
    assert.deepEqual(logged(server, 'model not loaded: serving what was served before'), []);
  });

  test('that hangs in its smoke test when SIGTERM comes is abandoned too', async (t) => {
    const { repository, server } = await serving(t, (filled) => filled.put('small', 1), [
      '--drain-delay',
      '0s',
    ]);
    const thaw = await server.freeze(t, 'decoder');
    const before = server.children('inference').length;
    repository.put('small', 2);
    server.signal('SIGHUP');
    await eventually('the new version is up', () => server.children('inference').length > before);
    const since = performance.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - since < 5_000);
    thaw();
    await eventually('no child is left', () => server.childrenLeft().length === 0);
  });
});

describe('weights that are overwritten while they are served', () => {
  const OTHER =
    /^model small\/1: .*model\.onnx has changed since this version was started: .*new version folder$/;

  test('are in no answer, and the old file makes the server ready again', async (t) => {
    const processes = ['--decoder-processes', '1', '--inference-processes', '2'];
    const { repository, server, client } = await serving(
      t,
      (filled) => filled.put('small', 1),
      [],
      processes,
    );
    const expected = (await client.classify({ image })).predictions;
    const watch = client.watch(SERVICE);
    await watch.count(1);
    const refused = () =>
      logged(server, 'process lost').filter(
        ({ cause, detail }) => cause === 'start' && OTHER.test(String(detail)),
      );
    const loseOne = async () => {
      const [victim] = server.children('inference');
      assert(victim);
      const before = refused().length;
      process.kill(victim.pid, 'SIGKILL');
      await eventually('its replacement is refused', () => refused().length > before);
    };

    const restore = repository.overwriteWeights('small', 1);
    await loseOne();
    for (let calls = 0; calls < 8; calls++) {
      assert.deepEqual((await client.classify({ image })).predictions, expected);
    }
    assert.equal((await server.get('/readyz')).status, 200);
    await loseOne();
    assert.equal((await server.get('/readyz')).status, 503);
    assert.equal(await client.check(), 'NOT_SERVING');
    assert.deepEqual(server.children('inference'), []);

    restore();
    await eventually('both processes are back', () => server.children('inference').length === 2);
    for (let calls = 0; calls < 8; calls++) {
      assert.deepEqual((await client.classify({ image })).predictions, expected);
    }
    assert.deepEqual(
      (await watch.count(3)).map(({ status }) => status),
      ['SERVING', 'NOT_SERVING', 'SERVING'],
    );
  });

  test('are reported once by polling, as a new version is needed', async (t) => {
    const { repository, server } = await serving(t, (filled) => filled.put('small', 1), [
      '--models-poll-interval',
      '20ms',
    ]);
    repository.overwriteWeights('small', 1);
    const failed = ({ msg }: LogLine) => msg === 'model not loaded: serving what was served before';
    const { version, problems } = await eventually('it is told', () => server.lines.find(failed));
    assert.equal(version, '1');
    assert.match(
      String(problems),
      /^model small\/1: model\.onnx changed after the version was loaded\. It is not loaded/,
    );
    // After two more polls it is still reported once.
    for (const name of ['a', 'b']) {
      repository.put(name, 1);
      await server.logged('model served', ({ model }) => model === `${name}/1`);
    }
    assert.equal(server.lines.filter(failed).length, 1);
  });
});

describe('polling', () => {
  test('loads a version that was half-copied once it is whole', async (t) => {
    const { repository, server, client } = await serving(t, (filled) => filled.put('small', 1), [
      '--models-poll-interval',
      '20ms',
    ]);
    const whole = repository.put('other', 1);
    const folder = join(repository.folder, 'small', '2');
    mkdirSync(folder);
    copyFileSync(join(whole, 'model.json'), join(folder, 'model.json'));
    const graph = readFileSync(join(whole, 'model.onnx'));
    writeFileSync(join(folder, 'model.onnx'), graph.subarray(0, graph.length / 2));
    await server.logged(
      'model not loaded: serving what was served before',
      ({ version }) => version === '2',
    );
    writeFileSync(join(folder, 'model.onnx'), graph);
    await server.logged('model served', ({ model }) => model === 'small/2');
    assert.equal(versionOf(await client.classify({ image, model: 'small' })), 'small/2');
  });

  test('loads new versions, but not again one that failed', async (t) => {
    const { repository, server, client } = await serving(t, (filled) => filled.put('small', 1), [
      '--models-poll-interval',
      '20ms',
    ]);
    repository.put('small', 2);
    await server.logged('model served', ({ model }) => model === 'small/2');
    repository.put('small', 3, brokenHash);
    await server.logged(
      'model not loaded: serving what was served before',
      ({ version }) => version === '3',
    );
    // Polling goes on: a later poll than the failed one finds a new model, and so do the two after
    // that.
    for (const name of ['a', 'b', 'c']) {
      repository.put(name, 1);
      await server.logged('model served', ({ model }) => model === `${name}/1`);
    }
    assert.equal(
      server.lines.filter(
        ({ msg, version }) => msg?.startsWith('model not loaded') && version === '3',
      ).length,
      1,
    );
    assert.equal(versionOf(await client.classify({ image })), 'small/2');
  });
});
