/**
 * Which versions are served, and how one replaces another, with fake processes.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { RequestError, SetupError } from '#vitserve/errors.js';
import { settled, watch } from '../../../support/fake-worker.js';
import { CatalogStand } from './catalog-stand.js';

let stand: CatalogStand;
beforeEach(() => {
  stand = new CatalogStand();
});
afterEach(() => stand.close());

const reload = () => stand.catalog.reload({ retryFailed: true });
const look = () => stand.catalog.reload({ retryFailed: false });

/** Uses what is served under this name until it is let go. */
function use(name: string): { readonly version: string; done(): Promise<void> } {
  const model = stand.catalog.resolve(name);
  let finish = () => {};
  const work = model.use(
    () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
  );
  return {
    version: model.info.version,
    async done() {
      finish();
      await work;
      await settled();
    },
  };
}

describe('the first models', () => {
  test('are served under their names, and the default one under none', async () => {
    stand.write('small', '1');
    stand.write('large', '3');
    await stand.start('small');
    assert.deepEqual(stand.served, ['large/3', 'small/1']);
    assert.equal(stand.catalog.resolve('').info.name, 'small');
    assert.equal(stand.catalog.resolve('large').info.version, '3');
    assert.deepEqual([...stand.shares.values()], [2, 2]);
    assert.deepEqual(
      [...stand.pools.values()].map(({ index }) => index),
      [0, 1],
    );
  });

  test('have the plan of their pixels', async () => {
    stand.write('small', '1');
    await stand.start('small');
    const { height, width, recipe } = JSON.parse(stand.catalog.resolve('').plan) as Record<
      string,
      unknown
    >;
    assert.deepEqual([height, width, typeof recipe], [32, 32, 'object']);
  });

  test('that cannot start are all reported, and the others are stopped with the catalog', async () => {
    for (const name of ['a', 'b', 'c']) stand.write(name, '1');
    stand.beforeStart = async ({ name }) => {
      if (name !== 'b') throw new SetupError('environment', [`${name} is broken`]);
    };
    await assert.rejects(stand.start('b'), { problems: ['a is broken', 'c is broken'] });
    await stand.catalog.stop();
    assert.ok(stand.pool('b/1').stops > 0);
  });

  test('of another name are rejected, with the known names in order', async () => {
    stand.write('small', '1');
    stand.write('large', '1');
    await stand.start('small');
    assert.throws(
      () => stand.catalog.resolve('tiny'),
      (error: unknown) =>
        error instanceof RequestError &&
        error.reason === 'MODEL_UNKNOWN' &&
        error.message === 'no such model: this server has large, small',
    );
  });
});

describe('a new version', () => {
  beforeEach(async () => {
    stand.write('small', '1');
    await stand.start('small');
    stand.write('small', '2');
  });

  test('replaces the old one, which stops after its last image', async () => {
    const [first, second] = [use(''), use('small')];
    await reload();
    assert.deepEqual(stand.events, ['withdrawn small/1', 'served small/2']);
    assert.equal(use('').version, '2');
    await first.done();
    assert.equal(stand.pool('small/1').stops, 0);
    await second.done();
    assert.equal(stand.pool('small/1').stops, 1);
    assert.deepEqual(stand.events.slice(2), ['retired small/1']);
    assert.equal(stand.pool('small/2').stops, 0);
  });

  test('passes its smoke test before any call gets it', async () => {
    let pass = () => {};
    stand.smokeTest = async ({ info: model }) => {
      assert.equal(model.version, '2');
      await new Promise<void>((resolve) => {
        pass = resolve;
      });
    };
    const done = reload();
    while (!stand.pools.has('small/2')) await new Promise(setImmediate);
    await settled();
    assert.deepEqual(stand.served, ['small/1']);
    pass();
    await done;
    assert.deepEqual(stand.served, ['small/2']);
  });

  test('that fails its smoke test changes nothing, and its processes end', async () => {
    stand.smokeTest = () => Promise.reject(new Error('wrong shape'));
    await reload();
    assert.deepEqual(stand.events, ['failed small/2: wrong shape']);
    assert.deepEqual(stand.served, ['small/1']);
    assert.deepEqual([stand.pool('small/1').stops, stand.pool('small/2').stops], [0, 1]);
    stand.smokeTest = async () => {};
    await reload();
    assert.deepEqual(stand.served, ['small/2']);
    assert.equal(stand.pool('small/2').index, 1, 'the number of the processes that have ended');
  });

  test('that has failed is not retried by polling, until asked for, removed or replaced', async () => {
    let starts = 0;
    stand.beforeStart = async ({ version }) => {
      starts++;
      if (version === '2') throw new SetupError('environment', ['broken']);
    };
    await look();
    await look();
    assert.deepEqual([starts, stand.events], [1, ['failed small/2: broken']]);
    await reload();
    assert.deepEqual([starts, stand.events.length], [2, 2]);
    stand.remove('small', '2');
    await look();
    stand.write('small', '2');
    await look();
    assert.deepEqual([starts, stand.events.length], [3, 3]);
    stand.write('small', '3');
    await look();
    assert.deepEqual(stand.served, ['small/3']);
  });

  test('that was read while it was copied is retried once it no longer changes', async () => {
    let starts = 0;
    stand.beforeStart = async () => void starts++;
    stand.writeGraph('small', '2', 'not really');
    await look();
    assert.equal(stand.events.length, 1);
    assert.match(stand.events[0] ?? '', /^failed small\/2: .* is not the graph of the manifest/);
    // Longer at every look: it is still being copied, and is not read again and again meanwhile.
    for (const graph of ['not really a', 'not really a gr']) {
      stand.writeGraph('small', '2', graph);
      await look();
    }
    assert.equal(stand.events.length, 1);
    stand.write('small', '2');
    await look();
    await look();
    assert.deepEqual([starts, stand.served], [1, ['small/2']]);
    assert.deepEqual(stand.events.slice(1), ['withdrawn small/1', 'served small/2']);
  });

  test('whose last file comes after the first try is retried, and reported again where it is still wrong', async () => {
    stand.remove('small', '2', 'model.json');
    await look();
    stand.write('small', '2', { 'graph.sha256': 'a'.repeat(64) });
    for (let looks = 0; looks < 4; looks++) await look();
    assert.equal(stand.events.length, 2);
    assert.match(stand.events[0] ?? '', /^failed small\/2: .*can't read .*model\.json/);
    assert.match(stand.events[1] ?? '', /^failed small\/2: .* is not the graph of the manifest/);
    assert.deepEqual(stand.served, ['small/1']);
  });

  test('that is asked for while it is failing is retried', async () => {
    let starts = 0;
    let again = Promise.resolve();
    stand.beforeStart = async () => {
      if (starts++ > 0) return;
      again = reload();
      throw new SetupError('environment', ['half of it is there']);
    };
    await look();
    await again;
    assert.deepEqual([starts, stand.served], [2, ['small/2']]);
  });

  test('may be a lower one, when the highest is taken away', async () => {
    await reload();
    stand.remove('small', '2');
    await reload();
    await settled();
    assert.deepEqual(stand.served, ['small/1']);
    assert.deepEqual(stand.events.slice(-3), [
      'withdrawn small/2',
      'served small/1',
      'retired small/2',
    ]);
  });

  test('whose pixels do not fit the slots is rejected and not started', async () => {
    const large = {
      'input.width': 48,
      'preprocessing.resize': { mode: 'squash', height: 32, width: 48 },
    };
    stand.write('small', '3', large);
    await reload();
    assert.deepEqual(stand.events, [
      "failed small/3: model small/3: its 32 × 48 pixels don't fit the slots, which have the size of the models at start: restart the server to serve it",
    ]);
    assert.equal(stand.pools.has('small/3'), false);
  });

  test('is started once, however often it is asked for meanwhile', async () => {
    await Promise.all([reload(), reload(), look(), reload()]);
    await settled();
    assert.deepEqual(stand.events, ['withdrawn small/1', 'served small/2', 'retired small/1']);
    await reload();
    assert.equal(stand.events.length, 3);
  });

  test('uses few numbers for its processes, however many came before', async () => {
    for (let version = 3; version < 20; version++) {
      stand.write('small', String(version));
      await reload();
      await settled();
      assert.ok(stand.pool(`small/${version}`).index <= 1);
    }
  });
});

describe('a version that is overwritten while it is served', () => {
  const GONE_WRONG = (files: string) =>
    new RegExp(`^failed small/1: model small/1: ${files} changed after the version was`);

  beforeEach(async () => {
    stand.write('small', '1');
    await stand.start('small');
  });

  test('is served as it was loaded, which is reported once, and again on request', async () => {
    stand.writeGraph('small', '1', 'quite another graph');
    for (let looks = 0; looks < 4; looks++) await look();
    assert.equal(stand.events.length, 1);
    assert.match(stand.events[0] ?? '', GONE_WRONG('model.onnx'));
    assert.match(
      stand.events[0] ?? '',
      /not loaded again, and its lost processes cannot be replaced: put the old/,
    );
    assert.deepEqual([stand.served, stand.pool('small/1').stops], [['small/1'], 0]);
    await reload();
    assert.equal(stand.events.length, 2);
  });

  test('in its manifest only is reported too, and its processes can still be replaced', async () => {
    stand.write('small', '1', { description: 'another one' });
    await reload();
    assert.match(stand.events.join(), GONE_WRONG('model.json'));
    assert.doesNotMatch(stand.events.join(), /lost processes/);
  });

  test('with the same content, or in other files, is not reported', async () => {
    stand.write('small', '1');
    stand.touch('small', '1', 'model.onnx');
    stand.writeFile('small', '1', 'README.md', 'about it');
    for (let looks = 0; looks < 3; looks++) await look();
    await reload();
    assert.deepEqual(stand.events, []);
  });

  test('and put back is reported again when it is overwritten again', async () => {
    for (let times = 1; times <= 2; times++) {
      stand.writeGraph('small', '1', 'quite another graph');
      for (let looks = 0; looks < 2; looks++) await look();
      stand.remove('small', '1', 'model.onnx');
      stand.write('small', '1');
      for (let looks = 0; looks < 2; looks++) await look();
      assert.equal(stand.events.length, times);
    }
  });

  test('and followed by a higher version is replaced by that', async () => {
    stand.writeGraph('small', '1', 'quite another graph');
    stand.write('small', '2');
    await look();
    assert.deepEqual(stand.served, ['small/2']);
  });
});

describe('a repository that changes', () => {
  beforeEach(async () => {
    stand.write('small', '1');
    stand.write('large', '1');
    await stand.start('small');
  });

  test('by a new model serves it, with a share of its own', async () => {
    stand.write('tiny', '7');
    await reload();
    assert.deepEqual(stand.served, ['large/1', 'small/1', 'tiny/7']);
    assert.equal(stand.shares.get('tiny/7'), 3);
  });

  test('by one model less stops it, and rejects its name from then on', async () => {
    const user = use('large');
    stand.remove('large');
    await reload();
    assert.deepEqual(stand.events, ['withdrawn large/1']);
    assert.throws(() => stand.catalog.resolve('large'), /this server has small$/);
    stand.write('large', '1');
    await reload();
    await user.done();
    assert.deepEqual(stand.events, ['withdrawn large/1', 'served large/1', 'retired large/1']);
    assert.deepEqual(stand.served, ['large/1', 'small/1']);
  });

  test('by the loss of the default model goes on serving it and says so once', async () => {
    stand.remove('small');
    await look();
    await look();
    assert.deepEqual(stand.events, [
      'failed small/1: the default model is gone from the repository: put it back, or restart with another one',
    ]);
    assert.equal(stand.catalog.resolve('').info.name, 'small');
    await reload();
    assert.equal(stand.events.length, 2);
  });

  test('by becoming unreadable, or a model without versions, stops nothing and is reported once', async () => {
    stand.remove('large', '1');
    stand.write('small', '2');
    await look();
    await look();
    assert.equal(
      stand.events.filter((event) => event.startsWith('failed /: model large: no version in '))
        .length,
      1,
    );
    assert.deepEqual(stand.served, ['large/1', 'small/2']);
    stand.remove();
    await look();
    await look();
    assert.match(stand.events.at(-1) ?? '', /^failed \/: model-repository: can't read /);
    assert.equal(stand.events.length, 5);
    assert.deepEqual(stand.served, ['large/1', 'small/2']);
    mkdirSync(join(stand.folder));
  });
});

describe('a catalog that is stopped', () => {
  beforeEach(async () => {
    stand.write('small', '1');
    await stand.start('small');
    stand.write('small', '2');
  });

  test('stops what it serves and what is being retired, and waits for no image', async () => {
    use('');
    await reload();
    await stand.catalog.stop();
    assert.ok(stand.pool('small/1').stops > 0 && stand.pool('small/2').stops > 0);
    assert.deepEqual(stand.events, ['withdrawn small/1', 'served small/2']);
  });

  test('stops a version that is starting', async () => {
    stand.beforeStart = (_, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        begun();
      });
    let begun = () => {};
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const done = watch(reload());
    await isBegun;
    await stand.catalog.stop();
    await settled();
    assert.equal(done.state.kind, 'resolved');
    assert.deepEqual([stand.events, stand.served], [[], ['small/1']]);
  });

  test('stops a version during its smoke test', async () => {
    const proving = new Promise<void>((begun) => {
      stand.smokeTest = (_, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
          begun();
        });
    });
    const done = watch(reload());
    await proving;
    await stand.catalog.stop();
    await settled();
    assert.equal(done.state.kind, 'resolved');
    assert.ok(stand.pool('small/2').stops > 0);
    assert.deepEqual([stand.events, stand.served], [[], ['small/1']]);
  });

  test('no longer looks for new versions', async () => {
    await stand.catalog.stop();
    await reload();
    assert.deepEqual(stand.events, []);
    assert.equal(stand.pools.has('small/2'), false);
  });
});
