/**
 * Any order of events whatever, driven by hand: what the dispatcher promises has to hold after each
 * of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_ATTEMPTS } from '#vitserve/server/scheduling/dispatcher.js';
import { ProcessLostError } from '#vitserve/workers/worker.js';
import { type Outcome, settled } from '../../../support/fake-worker.js';
import { answer, createStand, type Stand } from './stand.js';

const SCHEDULES = 2_500;

const LEFT = 'left';
const FAILED = 'failed';

interface Image {
  readonly leaving: AbortController;
  readonly outcome: { readonly state: Outcome<string> };
}

type Command =
  | { readonly kind: 'arrive' }
  | { readonly kind: 'leave'; readonly image: number }
  | { readonly kind: 'answer' | 'fail' | 'lose' | 'recover'; readonly worker: number };

const worker = fc.nat({ max: 3 });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('arrive' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('leave' as const), image: fc.nat({ max: 40 }) }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('answer' as const), worker }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail' as const), worker }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('lose' as const), worker }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('recover' as const), worker }) },
);

class Schedule {
  readonly #stand: Stand;
  readonly #maxBatchSize: number;
  readonly #images: Image[] = [];
  /** How often a process got each image. */
  readonly #attempts = new Map<number, number>();
  /** Images cancelled before the current command. */
  #gone: ReadonlySet<number> = new Set();
  #newest = -1;
  #checked = 0;

  constructor(workers: number, maxBatchSize: number) {
    this.#stand = createStand({ workers, maxBatchSize });
    this.#maxBatchSize = maxBatchSize;
  }

  /** `settle`: whether promises get to settle before the next command. */
  async run(command: Command, settle: boolean): Promise<void> {
    this.#gone = new Set(
      [...this.#images.keys()].filter((image) => this.#images[image]?.leaving.signal.aborted),
    );
    this.#apply(command);
    this.#checkFormed();
    if (!settle) return;
    await settled();
    this.#checkFormed();
    this.#checkWork();
  }

  /** Brings every process back and lets it answer until nothing is left. */
  async finish(): Promise<void> {
    await settled();
    for (const each of this.#stand.workers) if (!each.ready) each.recover();
    this.#checkFormed();
    for (let turn = 0; this.#stand.workers.some(({ inFlight }) => inFlight > 0); turn++) {
      assert.ok(turn < 1_000, 'the queue does not come to an end');
      for (const each of this.#stand.workers) if (each.inFlight > 0) answer(each);
      await settled();
      this.#checkFormed();
      this.#checkWork();
    }
    assert.equal(this.#stand.dispatcher.queueLength, 0);
    for (const [image, { outcome, leaving }] of this.#images.entries()) {
      const { state } = outcome;
      if (state.kind === 'resolved') assert.equal(state.value, `${image}!`);
      else {
        assert.equal(state.kind, 'rejected', `image ${image} was never settled`);
        if (state.error === LEFT) assert.ok(leaving.signal.aborted);
        else if (state.error instanceof ProcessLostError)
          assert.equal(this.#attempts.get(image), MAX_ATTEMPTS);
        else assert.equal(state.error, FAILED);
      }
    }
  }

  #apply(command: Command): void {
    if (command.kind === 'arrive') {
      const leaving = new AbortController();
      this.#images.push({ leaving, outcome: this.#stand.add(leaving.signal) });
    } else if (command.kind === 'leave') this.#images[command.image]?.leaving.abort(LEFT);
    else {
      const each = this.#stand.workers[command.worker];
      if (each === undefined) return;
      if (command.kind === 'recover' && !each.ready) each.recover();
      if (command.kind === 'lose' && each.ready) each.lose();
      if (command.kind === 'answer' && each.inFlight > 0) answer(each);
      if (command.kind === 'fail' && each.inFlight > 0) each.fail(FAILED);
    }
  }

  /** The batches that were formed since the last look, and where they went. */
  #checkFormed(): void {
    const { formed, workers } = this.#stand;
    for (const batch of formed.slice(this.#checked)) {
      assert.ok(
        batch.length > 0 && batch.length <= this.#maxBatchSize,
        `a batch of ${batch.length}`,
      );
      for (const image of batch) {
        const attempts = (this.#attempts.get(image) ?? 0) + 1;
        this.#attempts.set(image, attempts);
        assert.ok(attempts <= MAX_ATTEMPTS, `image ${image} was given to ${attempts} processes`);
        assert.ok(attempts === 1 || batch.length === 1, 'an image is executed again alone');
        assert.ok(!this.#gone.has(image), 'an image that had left was put into a batch');
        if (attempts > 1) continue;
        assert.ok(image > this.#newest, 'images leave in order of arrival');
        this.#newest = image;
      }
    }
    this.#checked = formed.length;
    for (const { inFlight, pending } of workers) {
      assert.ok(inFlight <= 2, 'one batch in advance at most');
      const [, [first, ...others] = []] = pending;
      assert.ok(
        others.length === 0 || others.length === this.#maxBatchSize - 1,
        'only a full batch is given in advance',
      );
      assert.ok(
        first === undefined || this.#attempts.get(first) === 1,
        'an image is executed again with nothing before it',
      );
    }
  }

  #checkWork(): void {
    const { workers, dispatcher } = this.#stand;
    const idle = workers.filter(({ ready, inFlight }) => ready && inFlight === 0);
    assert.ok(
      idle.length === 0 || dispatcher.queueLength === 0,
      'a process is idle while images wait',
    );
    const executing = workers.flatMap(({ pending }) => pending.flat()).length;
    const open = this.#images.filter(({ outcome }) => outcome.state.kind === 'open').length;
    assert.equal(
      open,
      dispatcher.queueLength + executing,
      'an image is waiting, executing or settled',
    );
  }
}

test('in any schedule of arrivals, answers, failures, losses and cancellations, every invariant of the dispatcher holds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.tuple(command, fc.boolean()), { maxLength: 60 }),
      async (workers, maxBatchSize, commands) => {
        const schedule = new Schedule(workers, maxBatchSize);
        for (const [each, settle] of commands) await schedule.run(each, settle);
        await schedule.finish();
      },
    ),
    { numRuns: SCHEDULES, seed: 1 },
  );
});
