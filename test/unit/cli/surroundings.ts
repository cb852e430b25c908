/** What the tests of the loader share: made-up files, and the problems of a rejection. */

import assert from 'node:assert/strict';
import type { LoadSurroundings } from '#vitserve/cli/load.js';
import { SetupError } from '#vitserve/errors.js';

export const NO_FILES: LoadSurroundings = {
  cwd: '/srv',
  readFile(path: string): string {
    throw new Error(`ENOENT: no such file or directory, open '${path}'`);
  },
};

/** Every file holds this: JSON, or text as it is. */
export function withFile(content: unknown): LoadSurroundings {
  return {
    cwd: '/srv',
    readFile: () => (typeof content === 'string' ? content : JSON.stringify(content)),
  };
}

/** The problems for which loading is rejected. */
export function problems(load: () => unknown): readonly string[] {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof SetupError, String(error));
    assert.equal(error.kind, 'usage');
    for (const problem of error.problems) assert.doesNotMatch(problem, /\n/);
    return error.problems;
  }
  return assert.fail('nothing was rejected');
}
