/** Health, with fake calls. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { status as grpcStatus } from '@grpc/grpc-js';
import { SERVICE_NAME } from '#vitserve/contract/contract.js';
import {
  Health,
  MOST_WATCHES,
  MOST_WATCHES_OF_A_CONNECTION,
  type Statuses,
} from '#vitserve/server/rpc/health.js';

type Check = Health['handlers']['Check'];
type Watch = Health['handlers']['Watch'];
type List = Health['handlers']['List'];

/** What Check replies, or the code and text of its error. */
function check(health: Health, service: string): string {
  let seen = 'nothing';
  health.handlers.Check({ request: { service } } as Parameters<Check>[0], (error, response) => {
    seen = error ? `${grpcStatus[error.code ?? 0]}: ${error.details}` : String(response?.status);
  });
  return seen;
}

/** Of the server and of these models. */
function statuses(serving: boolean, models: Readonly<Record<string, boolean>> = {}): Statuses {
  const ofModels = Object.entries(models).map(
    ([name, each]) => [`${SERVICE_NAME}/${name}`, each] as const,
  );
  return new Map([['', serving], [SERVICE_NAME, serving], ...ofModels]);
}

class FakeWatch {
  readonly request: { readonly service: string };
  readonly written: unknown[] = [];
  ended = 0;
  refused: string | null = null;
  readonly #peer: string;
  #onCancelled: (() => void) | undefined;

  constructor(health: Health, service: string, peer = '127.0.0.1:1') {
    this.request = { service };
    this.#peer = peer;
    health.handlers.Watch(this as unknown as Parameters<Watch>[0]);
  }

  write({ status }: { readonly status: unknown }): void {
    assert.equal(this.ended, 0, 'written after the end');
    this.written.push(status);
  }

  end(): void {
    this.ended++;
  }

  getPeer(): string {
    return this.#peer;
  }

  emit(event: string, status: { readonly code: number; readonly details: string }): void {
    assert.equal(event, 'error');
    this.refused = `${grpcStatus[status.code]}: ${status.details}`;
  }

  on(event: string, listener: () => void): void {
    assert.equal(event, 'cancelled');
    this.#onCancelled = listener;
  }

  /** The call is cancelled, or ends. */
  cancel(): void {
    this.#onCancelled?.();
  }
}

describe('Check', () => {
  for (const service of ['', SERVICE_NAME]) {
    test(`says whether ${service || 'the server'} answers`, () => {
      const health = new Health();
      assert.equal(check(health, service), 'NOT_SERVING');
      health.show(statuses(true));
      assert.equal(check(health, service), 'SERVING');
      health.show(statuses(false));
      assert.equal(check(health, service), 'NOT_SERVING');
    });
  }

  test('of a name that the server does not have is NOT_FOUND', () => {
    const text = `NOT_FOUND: unknown service: ask for ${SERVICE_NAME}`;
    assert.equal(check(new Health(), 'vitserve.v1.Other'), text);
    assert.equal(check(new Health(), 'constructor'), text);
  });
});

test('List has the status of both names and no others', () => {
  const health = new Health();
  health.show(statuses(true));
  check(health, 'vitserve.v1.Other');
  let listed: unknown;
  health.handlers.List({ request: {} } as Parameters<List>[0], (_, response) => {
    listed = response?.statuses;
  });
  assert.deepEqual(listed, { '': { status: 'SERVING' }, [SERVICE_NAME]: { status: 'SERVING' } });
});

describe('Watch', () => {
  for (const service of ['', SERVICE_NAME]) {
    test(`tells the status of ${service || 'the server'} now and whenever it changes`, () => {
      const health = new Health();
      const watch = new FakeWatch(health, service);
      assert.deepEqual(watch.written, ['NOT_SERVING']);
      health.show(statuses(true));
      health.show(statuses(true));
      health.show(statuses(false));
      assert.deepEqual(watch.written, ['NOT_SERVING', 'SERVING', 'NOT_SERVING']);
      assert.equal(watch.ended, 0);
    });
  }

  test('gets nothing after it is cancelled', () => {
    const health = new Health();
    const [first, second] = [new FakeWatch(health, ''), new FakeWatch(health, '')];
    first.cancel();
    health.show(statuses(true));
    health.close();
    assert.deepEqual([first.written, first.ended], [['NOT_SERVING'], 0]);
    assert.deepEqual([second.written, second.ended], [['NOT_SERVING', 'SERVING'], 1]);
  });

  test('of a name that the server does not have is SERVICE_UNKNOWN, stays open and gets nothing else', () => {
    const health = new Health();
    const watch = new FakeWatch(health, 'vitserve.v1.Other');
    health.show(statuses(true));
    assert.deepEqual([watch.written, watch.ended], [['SERVICE_UNKNOWN'], 0]);
  });

  test('is ended when the server stops, whatever its name, and only once', () => {
    const health = new Health();
    const watches = ['', SERVICE_NAME, 'vitserve.v1.Other'].map(
      (service) => new FakeWatch(health, service),
    );
    health.close();
    health.close();
    health.show(statuses(true));
    assert.deepEqual(
      watches.map(({ ended }) => ended),
      [1, 1, 1],
    );
  });

  test('that begins after that gets the status and ends', () => {
    const health = new Health();
    health.close();
    const [known, unknown] = [
      new FakeWatch(health, ''),
      new FakeWatch(health, 'vitserve.v1.Other'),
    ];
    assert.deepEqual([known.written, known.ended], [['NOT_SERVING'], 1]);
    assert.deepEqual([unknown.written, unknown.ended], [['SERVICE_UNKNOWN'], 1]);
  });
});

describe('a model', () => {
  const small = `${SERVICE_NAME}/small`;

  test('has a status of its own, whatever that of the server is', () => {
    const health = new Health();
    assert.match(check(health, small), /^NOT_FOUND/);
    health.show(statuses(true, { small: false, large: true }));
    assert.equal(check(health, small), 'NOT_SERVING');
    assert.equal(check(health, `${SERVICE_NAME}/large`), 'SERVING');
    assert.equal(check(health, ''), 'SERVING');
    assert.match(check(health, 'small'), /^NOT_FOUND/);
    health.show(statuses(true, { large: true }));
    assert.match(check(health, small), /^NOT_FOUND/);
  });

  test('is listed with its full name', () => {
    const health = new Health();
    health.show(statuses(false, { small: true }));
    let listed: unknown;
    health.handlers.List({ request: {} } as Parameters<List>[0], (_, response) => {
      listed = response?.statuses;
    });
    assert.deepEqual(listed, {
      '': { status: 'NOT_SERVING' },
      [SERVICE_NAME]: { status: 'NOT_SERVING' },
      [small]: { status: 'SERVING' },
    });
  });

  test('that appears, changes, disappears and comes back is reported to its Watch, and to no other', () => {
    const health = new Health();
    const watch = new FakeWatch(health, small);
    const other = new FakeWatch(health, SERVICE_NAME);
    for (const models of [
      { small: true },
      { small: true, large: true },
      { small: false },
      {},
      { small: true },
    ]) {
      health.show(statuses(false, models));
    }
    assert.deepEqual(watch.written, [
      'SERVICE_UNKNOWN',
      'SERVING',
      'NOT_SERVING',
      'SERVICE_UNKNOWN',
      'SERVING',
    ]);
    assert.deepEqual(other.written, ['NOT_SERVING']);
    assert.equal(watch.ended, 0);
  });
});

describe('Watch in numbers', () => {
  test('has a bound for a connection, and gives places back', () => {
    const health = new Health();
    const watches = Array.from(
      { length: MOST_WATCHES_OF_A_CONNECTION },
      (_, at) => new FakeWatch(health, `name ${at}`),
    );
    assert(watches.every(({ refused, written }) => refused === null && written.length === 1));
    const extra = new FakeWatch(health, '');
    assert.match(
      String(extra.refused),
      new RegExp(`^UNIMPLEMENTED: ${MOST_WATCHES_OF_A_CONNECTION} Watch calls of this connection`),
      'a client takes the server for healthy after this status and no other',
    );
    assert.deepEqual(extra.written, []);
    assert.equal(
      new FakeWatch(health, '', '127.0.0.1:2').refused,
      null,
      'other connections have their own',
    );
    watches[0]?.cancel();
    assert.equal(new FakeWatch(health, '').refused, null);
    assert.notEqual(new FakeWatch(health, '').refused, null);
  });

  test('has a bound for all connections together', () => {
    const health = new Health();
    const open = (from: number, count: number) =>
      Array.from({ length: count }, (_, at) => new FakeWatch(health, '', `127.0.0.1:${from + at}`));
    const first = open(0, MOST_WATCHES);
    assert(first.every(({ refused }) => refused === null));
    assert.notEqual(open(MOST_WATCHES, 1)[0]?.refused, null);
    for (const watch of first) watch.cancel();
    assert(open(0, MOST_WATCHES).every(({ refused }) => refused === null));
  });
});
