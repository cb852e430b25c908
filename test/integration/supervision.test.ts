/**
 * A supervised process that ends, hangs and sends nonsense in every possible way; real processes,
 * none of them ours.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import type { SetupError } from '#vitserve/errors.js';
import { type CallLimit, ProcessWorker } from '#vitserve/workers/process/process-worker.js';
import { NO_LIMITS } from '#vitserve/workers/process/sandbox.js';
import type { ChildEvent, ChildSpec } from '#vitserve/workers/process/supervised-child.js';
import { ProcessLostError } from '#vitserve/workers/worker.js';
import { FakeClock } from '../support/fake-clock.js';
import type { Settings } from '../support/misbehaving-child.js';
import { eventually, isAlive, processState } from '../support/server.js';

const LINUX = process.platform === 'linux' ? {} : { skip: 'only Linux can do it' };
const TIMEOUT_MS = 400;

interface Stand {
  readonly worker: ProcessWorker<string, string>;
  /** What the child answers to this text. */
  run(text: string): Promise<string>;
  /** What the observer was told, one line each. */
  readonly events: string[];
  readonly lines: string[];
  readonly pids: number[];
  settings: Settings;
  /** Waits for the n-th process to be ready. */
  ready(count: number): Promise<void>;
}

function createStand(
  t: TestContext,
  changes: Partial<ChildSpec> = {},
  limit: CallLimit = { wallMs: TIMEOUT_MS },
): Stand {
  const events: string[] = [];
  const lines: string[] = [];
  const pids: number[] = [];
  const stand = { settings: { start: 'as it should', limits: NO_LIMITS } as Settings };
  const report = (event: ChildEvent) => {
    switch (event.kind) {
      case 'child-ready':
        pids.push(event.pid);
        events.push('ready');
        return;
      case 'child-killed':
        events.push(`killed ${worker.ready ? 'and still taken for ready' : ''}`.trim());
        return;
      case 'child-lost':
        events.push(`lost by ${event.cause}: ${event.detail}`);
        return;
      case 'child-stopped':
        events.push('stopped');
        return;
      case 'child-line':
        lines.push(event.line);
    }
  };
  const worker = new ProcessWorker<string, string>(
    {
      role: 'decoder',
      index: 0,
      entry: new URL('../support/misbehaving-child.js', import.meta.url),
      settings: () => stand.settings,
      niceness: 0,
      sharedFds: [],
      environment: undefined,
      startTimeoutMs: 20_000,
      report,
      ...changes,
    },
    {
      encode: ([text = '']) => Buffer.from(text),
      decode: (payload, [text]) => {
        const output = payload.toString();
        if (output === 'not this') throw new Error(`"${output}" is no reply to "${text}"`);
        return [{ kind: 'done', output }];
      },
    },
    limit,
  );
  const run = async (text: string) => {
    const [result] = await worker.run([text]);
    return result?.kind === 'done' ? result.output : String(result?.kind);
  };
  t.after(() => worker.stop());
  const ready = async (count: number) => {
    await eventually(
      `process number ${count} is ready`,
      () => worker.ready && pids.length === count,
    );
  };
  return Object.assign(stand, { worker, run, events, lines, pids, ready });
}

async function lostBy(call: Promise<string>): Promise<ProcessLostError> {
  const error: unknown = await call.then(
    (reply) => assert.fail(`answered with ${reply}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ProcessLostError, String(error));
  return error;
}

interface Death {
  readonly call: string;
  readonly event: RegExp;
  /** Whether the call is held responsible. */
  readonly suspect: boolean;
  readonly hurt?: (pid: number) => void;
}

const DEATHS: Readonly<Record<string, Death>> = {
  'an exit': { call: 'exit 3', event: /^lost by exit: exit code 3$/, suspect: true },
  'an orderly exit': { call: 'exit 0', event: /^lost by exit: exit code 0$/, suspect: true },
  'an error that nobody catches': {
    call: 'throw',
    event: /^lost by exit: exit code 1$/,
    suspect: true,
  },
  'a segmentation fault': {
    call: 'crash SIGSEGV',
    event: /^lost by signal: signal SIGSEGV$/,
    suspect: true,
  },
  'an abort': { call: 'crash SIGABRT', event: /^lost by signal: signal SIGABRT$/, suspect: true },
  'a kill from outside': {
    call: 'hang',
    hurt: (pid) => process.kill(pid, 'SIGKILL'),
    event: /^lost by signal: signal SIGKILL$/,
    suspect: false,
  },
  'an endless loop': {
    call: 'spin',
    event: /^lost by timeout: no answer within 400 ms$/,
    suspect: true,
  },
  'an endless wait': {
    call: 'hang',
    event: /^lost by timeout: no answer within 400 ms$/,
    suspect: true,
  },
  'a stop from outside': {
    call: 'hang',
    hurt: (pid) => process.kill(pid, 'SIGSTOP'),
    event: /^lost by timeout: no answer within 400 ms: it was stopped$/,
    suspect: false,
  },
  'a frame of no known kind': {
    call: 'send unknown-tag',
    event: /^lost by protocol: unexpected frame tag 99$/,
    suspect: true,
  },
  'a frame that is the front’s to send': {
    call: 'send call-tag',
    event: /^lost by protocol: /,
    suspect: true,
  },
  'a second ready': {
    call: 'send ready-again',
    event: /^lost by protocol: unexpected frame tag 2$/,
    suspect: true,
  },
  'a start that fails after it succeeded': {
    call: 'send failed-late',
    event: /^lost by protocol: /,
    suspect: true,
  },
  'a frame of 4 GiB': {
    call: 'send endless-frame',
    event: /^lost by protocol: a frame of 4294967295 bytes is beyond the limit$/,
    suspect: true,
  },
  'bytes that are no frames': {
    call: 'send random-bytes',
    event: /^lost by protocol: a frame of /,
    suspect: true,
  },
  'a reply that does not fit its call': {
    call: 'send wrong-reply',
    event: /^lost by protocol: "not this" is no reply to "send wrong-reply"$/,
    suspect: true,
  },
};

describe('a supervised process with a limit on its processor time', LINUX, () => {
  const CPU_LIMIT = { cpuMs: TIMEOUT_MS };

  test('is replaced when it has used it up, and the call is told so', async (t) => {
    const stand = createStand(t, {}, CPU_LIMIT);
    await stand.worker.start();
    const { suspect, usedUp } = await lostBy(stand.run('spin'));
    assert.deepEqual([suspect, usedUp], [true, true]);
    await stand.ready(2);
    assert.ok(
      stand.events.includes(`lost by cpu: no answer within ${TIMEOUT_MS} ms of processor time`),
    );
  });

  test('is replaced when it uses none, for which the call may be responsible', async (t) => {
    const stand = createStand(t, {}, CPU_LIMIT);
    await stand.worker.start();
    const { suspect, usedUp } = await lostBy(stand.run('hang'));
    assert.deepEqual([suspect, usedUp], [true, false]);
    await stand.ready(2);
    assert.match(stand.events.join(), /lost by timeout: no answer, and no processor time used/);
  });

  test('is replaced when it was stopped from outside, at no fault of the call', async (t) => {
    const stand = createStand(t, {}, CPU_LIMIT);
    await stand.worker.start();
    const failing = lostBy(stand.run('spin'));
    const [pid] = stand.pids;
    assert.ok(pid);
    process.kill(pid, 'SIGSTOP');
    const { suspect, usedUp } = await failing;
    assert.deepEqual([suspect, usedUp], [false, false]);
  });
});

describe('a supervised process is replaced after', LINUX, () => {
  for (const [what, { call, event, suspect, hurt }] of Object.entries(DEATHS)) {
    test(what, async (t) => {
      const stand = createStand(t);
      const { worker, run, events, pids } = stand;
      await worker.start();
      const [pid] = pids;
      assert.ok(pid);
      assert.equal(await run('echo before'), 'before');
      const since = performance.now();
      const failing = lostBy(run(call));
      const behind = lostBy(run('echo behind'));
      hurt?.(pid);
      assert.equal((await failing).suspect, suspect);
      const lostMs = performance.now() - since;
      assert.equal((await behind).suspect, false, 'a call that waited behind it did nothing');
      assert.equal(isAlive(pid), false);
      await stand.ready(2);
      t.diagnostic(
        `lost after ${Math.round(lostMs)} ms, replaced after ${Math.round(performance.now() - since)} ms`,
      );
      assert.equal(await run('echo after'), 'after');
      const ours = /timeout|protocol/.test(event.source);
      assert.deepEqual(
        events.map((each) => (event.test(each) ? 'expected loss' : each)),
        ['ready', ...(ours ? ['killed'] : []), 'expected loss', 'ready'],
      );
      if (event.source.includes('timeout'))
        assert.ok(lostMs >= TIMEOUT_MS && lostMs < TIMEOUT_MS + 1_000, `${lostMs} ms`);
    });
  }

  test('a reply to no call', async (t) => {
    const stand = createStand(t);
    await stand.worker.start();
    // The first of the two is taken for the answer: that it is none can't be seen. The second can.
    assert.equal(await stand.run('send second-reply'), 'unasked');
    await stand.ready(2);
    assert.deepEqual(stand.events, [
      'ready',
      'killed',
      'lost by protocol: a reply to no batch',
      'ready',
    ]);
  });
});

describe('what a process writes beside the channel', LINUX, () => {
  test('is cut if it has no end, and costs neither memory nor the process', async (t) => {
    const stand = createStand(t);
    await stand.worker.start();
    assert.equal(await stand.run('write 32'), 'written');
    assert.equal(await stand.run('lines 5000'), 'written');
    await eventually('its lines have been read', () => stand.lines.length >= 100);
    assert.deepEqual(stand.events, ['ready']);
    assert.ok(stand.lines.length <= 101, `${stand.lines.length} lines`);
    assert.ok(Math.max(...stand.lines.map(({ length }) => length)) <= 1_002);
  });
});

describe('a process that does not start', LINUX, () => {
  const problemOf = async (stand: Stand) => {
    const error = (await stand.worker.start().then(
      () => assert.fail('it started'),
      (thrown: unknown) => thrown,
    )) as SetupError;
    return error.problems[0] ?? '';
  };
  for (const [start, problem] of [
    ['dies', /did not start: exit code 7$/],
    ['says nothing', /did not start: not ready within 700 ms$/],
    ['writes garbage', /did not start: a frame of \d+ bytes is beyond the limit$/],
  ] as const) {
    test(`at first is an error that says why (${start})`, async (t) => {
      const stand = createStand(t, { startTimeoutMs: 700 });
      stand.settings = { ...stand.settings, start };
      assert.match(await problemOf(stand), problem);
    });
  }

  test('is retried after ever longer waits, until it has served for five seconds', async (t) => {
    const clock = new FakeClock();
    const stand = createStand(t, { clock, random: () => 0.5 });
    const { worker, run, events } = stand;
    const happened = async (count: number) => {
      await eventually(`${count} events`, () => events.length === count && clock.timers <= 1);
    };
    /** Loses the running process, if any, and measures after how long the next one is started. */
    const waitMs = async (settings: Settings['start'], kill: boolean): Promise<number> => {
      stand.settings = { ...stand.settings, start: settings };
      const count = events.length;
      if (kill) process.kill(worker.pid as number, 'SIGKILL');
      if (kill) await happened(count + 1);
      const from = clock.now();
      const before = events.length;
      while (worker.pid === undefined) clock.advance(1);
      const waited = clock.now() - from;
      await happened(before + 1);
      return waited;
    };
    await worker.start();
    const waits = [await waitMs('dies', true)];
    for (let start = 0; start < 7; start++) waits.push(await waitMs('dies', false));
    waits.push(await waitMs('as it should', false));
    assert.deepEqual(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);

    clock.advance(4_000);
    assert.equal(
      await waitMs('as it should', true),
      10_000,
      'four seconds of service prove nothing',
    );
    clock.advance(5_001);
    assert.equal(await waitMs('as it should', true), 100);
    assert.equal(await run('echo well'), 'well');
  });

  test('because the system has no memory for one is retried, and the front goes on', async (t) => {
    const shared: number[] = [];
    const stand = createStand(t, { sharedFds: shared });
    await stand.worker.start();
    // A descriptor that is not there: what starts a process throws, as it does where there is no
    // memory for one.
    shared.push(99_999);
    process.kill(stand.pids[0] as number, 'SIGKILL');
    const failed = () => stand.events.filter((event) => event.startsWith('lost by start'));
    await eventually('two starts have failed', () => failed().length >= 2);
    assert.equal(failed()[0], 'lost by start: spawn EBADF');
    shared.pop();
    await stand.ready(2);
    assert.equal(await stand.run('echo again'), 'again');
  });
});

describe('a sandboxed process', LINUX, () => {
  const confined = (t: TestContext) => {
    const stand = createStand(t);
    stand.settings = {
      ...stand.settings,
      limits: { noNewDescriptors: true, memoryBytes: 256 * 2 ** 20 },
    };
    return stand;
  };

  test('gets the memory that it was granted, and is lost when it needs more', async (t) => {
    const stand = confined(t);
    await stand.worker.start();
    assert.equal(await stand.run('take 128'), String(128 * 2 ** 20));
    const since = performance.now();
    assert.equal((await lostBy(stand.run('take 1024'))).suspect, true);
    t.diagnostic(`lost after ${Math.round(performance.now() - since)} ms: ${stand.events.at(-1)}`);
    await stand.ready(2);
    assert.equal(await stand.run('take 128'), String(128 * 2 ** 20));
  });

  for (const call of ['open /etc/hostname', 'open /dev/null', 'listen']) {
    test(`can't "${call}"`, async (t) => {
      const free = createStand(t);
      await free.worker.start();
      assert.match(await free.run(call), /^(opened|listening)$/);
      const stand = confined(t);
      await stand.worker.start();
      await lostBy(stand.run(call));
      await eventually('it has said why', () =>
        stand.lines.some((line) => line.includes('EMFILE')),
      );
    });
  }

  test('has no privileges to gain and no core dump, and its figures can be read', async (t) => {
    const stand = confined(t);
    await stand.worker.start();
    const pid = stand.pids[0] as number;
    assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^NoNewPrivs:\s+1$/m);
    const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
    assert.match(limits, /^Max core file size\s+0\s+0\s/m);
    assert.match(limits, /^Max open files\s+0\s+0\s/m);
    assert.match(limits, /^Max data size\s+(\d+)\s+\1\s/m);
    assert.notEqual(processState(pid), null);
  });
});

describe('a process whose memory is hidden', LINUX, () => {
  /** As a user without rights: root may read everything. */
  const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const node = (t: TestContext, code: string) => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
      ...user,
    });
    t.after(() => child.kill('SIGKILL'));
    return child;
  };
  const said = async (child: ReturnType<typeof node>) =>
    String((await once(child.stdout, 'data'))[0]).trim();
  const module = new URL('../../dist/workers/process/sandbox.js', import.meta.url);

  for (const [hidden, expected] of [
    [false, 'read'],
    [true, 'EACCES'],
  ] as const) {
    test(`${hidden ? 'can’t' : '(and only then) can'} be read by others of its user`, async (t) => {
      const hide = hidden ? `(await import('${module}')).hideMemory();` : '';
      const victim = node(t, `${hide} console.log('up'); process.stdin.resume();`);
      assert.equal(await said(victim), 'up');
      const look = `import { readFileSync } from 'node:fs';
        try { readFileSync('/proc/${victim.pid}/environ'); console.log('read'); } catch ({ code }) { console.log(code); }`;
      assert.equal(await said(node(t, look)), expected);
      assert.match(readFileSync(`/proc/${victim.pid}/stat`, 'utf8'), /^\d+ \(/);
    });
  }
});
