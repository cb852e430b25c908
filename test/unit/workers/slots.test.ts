/** The slot file, from the front's side and from a child's. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SetupError } from '#vitserve/errors.js';
import {
  openUnlinkedFile,
  reserve,
  SLOT_HEADER_BYTES,
  SlotFile,
  SlotView,
} from '#vitserve/workers/slots.js';

const LAYOUT = { pixelBytes: 4 * 3 * 3 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vitserve-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Calls `use` with a slot file and a child's view of it. */
function withSlots(count: number, use: (file: SlotFile, view: SlotView) => void): void {
  const file = SlotFile.create(folder, LAYOUT, count);
  try {
    use(file, new SlotView(file.fd, LAYOUT));
  } finally {
    file.close();
  }
}

/** Pixels that no other slot has. */
const pixelsOf = (slot: number) =>
  Uint8Array.from({ length: LAYOUT.pixelBytes }, (_, at) => (slot * 50 + at) % 256);

function readSlot(view: SlotView, slot: number): Uint8Array {
  const pixels = new Uint8Array(LAYOUT.pixelBytes);
  view.readPixels(slot, pixels, 0, LAYOUT.pixelBytes);
  return pixels;
}

function setupProblems(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof SetupError, String(error));
    assert.equal(error.kind, 'environment');
    return error.problems;
  }
  return assert.fail('nothing was rejected');
}

describe('the slot file', () => {
  test('takes its space at once and leaves nothing in the folder', () => {
    withSlots(5, (file) => {
      assert.equal(file.count, 5);
      assert.equal(file.bytes, 5 * (SLOT_HEADER_BYTES + LAYOUT.pixelBytes));
      const { size, blocks } = fstatSync(file.fd);
      assert.equal(size, file.bytes);
      assert.ok(blocks > 0, 'the space is written, not only promised');
      assert.deepEqual(readdirSync(folder), []);
    });
  });

  test('is readable for its owner only', () => {
    withSlots(1, (file) => assert.equal(fstatSync(file.fd).mode & 0o777, 0o600));
  });

  test('grows, keeps what it holds and never shrinks', () => {
    withSlots(2, (file, view) => {
      view.writePixels(1, pixelsOf(1));
      file.grow(4);
      assert.equal(file.count, 4);
      assert.equal(fstatSync(file.fd).size, 4 * (SLOT_HEADER_BYTES + LAYOUT.pixelBytes));
      assert.deepEqual(readSlot(view, 1), pixelsOf(1));
      assert.deepEqual(readSlot(view, 3), new Uint8Array(LAYOUT.pixelBytes));
      file.grow(3);
      assert.equal(file.count, 4);
    });
  });

  test('grows by a few more slots than are asked for, so that it is seldom done', () => {
    withSlots(2, (file) => {
      assert.equal(file.tryGrow(2), true);
      assert.equal(file.count, 2);
      assert.equal(file.tryGrow(3), true);
      assert.ok(file.count > 1_000, `${file.count}`);
      const { count } = file;
      assert.equal(file.tryGrow(count), true);
      assert.equal(file.count, count);
    });
  });

  test('may have more slots than are written at a time', () => {
    const layout = { pixelBytes: 700_000 };
    const file = SlotFile.create(folder, layout, 4);
    assert.equal(fstatSync(file.fd).size, 4 * (SLOT_HEADER_BYTES + layout.pixelBytes));
    const view = new SlotView(file.fd, layout);
    const pixels = new Uint8Array(layout.pixelBytes).fill(7);
    view.writePixels(3, pixels);
    const read = new Uint8Array(layout.pixelBytes);
    view.readPixels(3, read, 0, layout.pixelBytes);
    assert.ok(Buffer.from(read).equals(pixels));
    file.close();
  });
});

describe('a slot', () => {
  test('is wanted from its opening until its expiry', () => {
    withSlots(2, (file, view) => {
      file.open(1, 1_000.5);
      assert.equal(view.isWanted(1, 0), true);
      assert.equal(view.isWanted(1, 1_000.25), true);
      assert.equal(view.isWanted(1, 1_000.5), false);
      assert.equal(view.isWanted(1, 2_000), false);
    });
  });

  test('that was never opened is not wanted', () => {
    withSlots(1, (_, view) => assert.equal(view.isWanted(0, 1), false));
  });

  test('without a deadline is wanted for ever', () => {
    withSlots(1, (file, view) => {
      file.open(0, Number.POSITIVE_INFINITY);
      assert.equal(view.isWanted(0, Number.MAX_VALUE), true);
    });
  });

  test('that is cancelled is no longer wanted, and its neighbours still are', () => {
    withSlots(3, (file, view) => {
      for (const slot of [0, 1, 2]) file.open(slot, 1_000);
      file.cancel(1);
      assert.deepEqual(
        [0, 1, 2].map((slot) => view.isWanted(slot, 0)),
        [true, false, true],
      );
    });
  });

  test('that is opened again is wanted again, with its new expiry', () => {
    withSlots(1, (file, view) => {
      file.open(0, 1_000);
      file.cancel(0);
      file.open(0, 2_000);
      assert.equal(view.isWanted(0, 1_999), true);
      assert.equal(view.isWanted(0, 2_000), false);
    });
  });

  test('gives back the pixels that were written to it, and its neighbours theirs', () => {
    withSlots(4, (file, view) => {
      for (const slot of [3, 0, 2, 1]) view.writePixels(slot, pixelsOf(slot));
      file.open(2, 1_000);
      file.cancel(1);
      for (const slot of [0, 1, 2, 3]) assert.deepEqual(readSlot(view, slot), pixelsOf(slot));
    });
  });

  test('is read into a batch at the place of its image', () => {
    withSlots(3, (_, view) => {
      for (const slot of [0, 1, 2]) view.writePixels(slot, pixelsOf(slot));
      const batch = new Uint8Array(3 * LAYOUT.pixelBytes);
      view.readPixels(2, batch, LAYOUT.pixelBytes, LAYOUT.pixelBytes);
      assert.deepEqual(batch.subarray(0, LAYOUT.pixelBytes), new Uint8Array(LAYOUT.pixelBytes));
      assert.deepEqual(batch.subarray(LAYOUT.pixelBytes, 2 * LAYOUT.pixelBytes), pixelsOf(2));
      assert.deepEqual(batch.subarray(2 * LAYOUT.pixelBytes), new Uint8Array(LAYOUT.pixelBytes));
    });
  });

  test('may hold the fewer pixels of a smaller model, and no more than these are read', () => {
    withSlots(2, (_, view) => {
      view.writePixels(0, pixelsOf(0));
      view.writePixels(0, Uint8Array.of(1, 2, 3));
      const read = new Uint8Array(LAYOUT.pixelBytes).fill(9);
      view.readPixels(0, read, 1, 3);
      assert.deepEqual([...read.subarray(0, 5)], [9, 1, 2, 3, 9]);
    });
  });

  test('beyond the file cannot be read', () => {
    withSlots(2, (_, view) =>
      assert.throws(() => readSlot(view, 2), /^Error: slot 2 lies beyond the file$/),
    );
  });
});

describe('a folder that cannot hold the file', () => {
  test('because it is not there', () => {
    const missing = join(folder, 'missing');
    const [problem, ...others] = setupProblems(() => SlotFile.create(missing, LAYOUT, 1));
    assert.deepEqual(others, []);
    assert.match(
      problem ?? '',
      /^shared-memory-dir: can't create a file in .*missing \(ENOENT: .*\): name a writable folder, best on tmpfs$/,
    );
  });

  test('because it is a file', () => {
    const path = join(folder, 'file');
    writeFileSync(path, '');
    assert.match(
      setupProblems(() => openUnlinkedFile(path))[0] ?? '',
      /can't create a file in .*\(ENOTDIR: /,
    );
  });

  test('because it is full', { skip: !existsSync('/dev/full') }, () => {
    const fd = openSync('/dev/full', 'r+');
    const problems = setupProblems(() => reserve(fd, 0, 3 * 2 ** 20, '/dev/shm', '20 pixel slots'));
    closeSync(fd);
    assert.deepEqual(problems, [
      "shared-memory-dir: /dev/shm has no room for 3.0 MiB of 20 pixel slots (ENOSPC: no space left on device, write): enlarge it (a container's /dev/shm is 64 MiB by default), name another folder, or lower permits",
    ]);
  });
});
