/**
 * libturbojpeg 3 as a shared library, through the foreign-function interface: found, checked and
 * bound.
 *
 * The file comes prebuilt in the npm package @julusian/jpeg-turbo, of which nothing else is used:
 * neither its binding nor a script of it runs. Only a file with a known SHA-256 is loaded, so the
 * code that parses hostile bytes is the code that was tested, even if the folder was changed. If
 * this platform has no such file, or a wrong one, sharp decodes: slower, with the same pixels.
 * Costs about 5 ms once a process.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { messageOf } from '../../errors.js';

/**
 * SHA-256 of libturbojpeg.so.0 (libjpeg-turbo 3.1.3) in @julusian/jpeg-turbo 3.0.1, by the name of
 * its folder.
 */
export const LIBRARY_HASHES: Readonly<Record<string, string>> = {
  'jpeg-turbo-linux-x64': '6facda09ef3e2308608f2b0214c040791e276305a48a27036362402f95fffcf5',
  'jpeg-turbo-linux-x64-musl': 'f0ab907a77c73f2450725e9236abd999b731be1adda2fa80cc9b5d2b4d780241',
  'jpeg-turbo-linux-arm64': 'a84dbc892b9e438c72022bc6ad892400d21ffdf5d7184928d59807371b7c86d5',
};

const PACKAGE = '@julusian/jpeg-turbo';

/** A decompressor's handle; opaque. */
export type TurboJpegHandle = unknown;

/**
 * The used part of turbojpeg.h, version 3. Functions that return a number return 0 for success,
 * except `get`.
 */
export interface TurboJpegLibrary {
  init(kind: number): TurboJpegHandle | null;
  destroy(handle: TurboJpegHandle): void;
  set(handle: TurboJpegHandle, parameter: number, value: number): number;
  get(handle: TurboJpegHandle, parameter: number): number;
  decompressHeader(handle: TurboJpegHandle, jpeg: Uint8Array, size: number): number;
  /** Rows of `pitch` bytes, 0 for rows without gaps. */
  decompress8(
    handle: TurboJpegHandle,
    jpeg: Uint8Array,
    size: number,
    target: Uint8Array,
    pitch: number,
    pixelFormat: number,
  ): number;
}

/** Why the library is not used. */
export interface TurboJpegMissing {
  /** For the operator. */
  readonly why: string;
  /** False if a file exists that should have worked: something for the operator to look into. */
  readonly expected: boolean;
}

export type TurboJpegLoad = { readonly library: TurboJpegLibrary } | TurboJpegMissing;

/** Reads, checks and binds the library of this platform. Never throws. */
export function loadTurboJpeg(): TurboJpegLoad {
  const folder = folderOfThisPlatform();
  if (!(folder in LIBRARY_HASHES))
    return { why: `no build is known for ${folder}`, expected: true };
  let path: string;
  try {
    const carrier = createRequire(import.meta.url).resolve(`${PACKAGE}/package.json`);
    path = join(dirname(carrier), 'prebuilds', folder, 'libturbojpeg.so.0');
  } catch {
    return { why: `the package ${PACKAGE} is not installed`, expected: true };
  }
  return bindTurboJpeg(path, LIBRARY_HASHES[folder] as string);
}

/** Binds the library at `path` if its SHA-256 is `hash` (lower-case hexadecimal). Never throws. */
export function bindTurboJpeg(path: string, hash: string): TurboJpegLoad {
  try {
    const found = createHash('sha256').update(readFileSync(path)).digest('hex');
    if (found !== hash)
      return {
        why: `the file is not the known one: its SHA-256 is ${found}`,
        expected: false,
      };
    const library = koffi.load(path);
    return {
      library: {
        init: library.func('void* tj3Init(int)'),
        destroy: library.func('void tj3Destroy(void*)'),
        set: library.func('int tj3Set(void*, int, int)'),
        get: library.func('int tj3Get(void*, int)'),
        decompressHeader: library.func('int tj3DecompressHeader(void*, const uint8_t*, size_t)'),
        decompress8: library.func(
          'int tj3Decompress8(void*, const uint8_t*, size_t, uint8_t*, int, int)',
        ),
      },
    };
  } catch (error) {
    return { why: `the file can't be loaded: ${messageOf(error)}`, expected: false };
  }
}

function folderOfThisPlatform(): string {
  const folder = `jpeg-turbo-${process.platform}-${process.arch}`;
  return process.platform === 'linux' && runsOnMusl() ? `${folder}-musl` : folder;
}

/** By the dynamic linker of this process; a system may have both installed. */
function runsOnMusl(): boolean {
  try {
    return readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-');
  } catch {
    return false;
  }
}
