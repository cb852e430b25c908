/**
 * The grpc-go client in `go/`, built if there is a Go with the modules that it needs. Nothing is
 * fetched: run `go build -o /dev/null .` in that folder once, with a network.
 */
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../support/server.js';

const SOURCE = join(REPOSITORY, 'test/interop/go');
const PROGRAM = join(REPOSITORY, 'dist-test/interop/go-client');
/** The first build of grpc-go takes about a minute; later ones a look at Go's cache. */
const BUILD_LIMIT_MS = 150_000;

/** The program, or why there is none. A program of ours that does not compile is an error. */
export function goClient(): { readonly program: string } | { readonly missing: string } {
  const command = ['go', '/usr/local/go/bin/go'].find(
    (each) => spawnSync(each, ['version']).status === 0,
  );
  if (command === undefined) return { missing: 'no Go' };
  // Test files run at the same time: each builds its own, and renames it into place in one step.
  const fresh = `${PROGRAM}-${process.pid}`;
  const { status, stderr } = spawnSync(command, ['build', '-o', fresh, '.'], {
    cwd: SOURCE,
    encoding: 'utf8',
    timeout: BUILD_LIMIT_MS,
    env: {
      ...process.env,
      GOPROXY: 'off',
      GOTOOLCHAIN: 'local',
      GOFLAGS: '-mod=readonly -buildvcs=false',
    },
  });
  if (status === 0) {
    renameSync(fresh, PROGRAM);
    return { program: PROGRAM };
  }
  if (status === null)
    return { missing: `Go did not build test/interop/go in ${BUILD_LIMIT_MS / 1000} s` };
  if (/module lookup disabled by GOPROXY=off|go: go\.mod requires go/.test(stderr)) {
    return {
      missing:
        'a Go that is too old, or has not the modules of test/interop/go: run "go build -o /dev/null ." there',
    };
  }
  throw new Error(`test/interop/go does not build:\n${stderr}`);
}
