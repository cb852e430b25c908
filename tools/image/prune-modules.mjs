// Takes out of node_modules what this platform never loads: binaries for other systems, and what
// only a build needs. onnxruntime-node alone brings those of five platforms, 250 MB that an image
// would carry for nothing.
//   node tools/image/prune-modules.mjs FOLDER
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Each folder, and what of it stays. A package that is not there, or has no binary for this
 * platform, is left alone.
 */
function kept(platform, arch, libc) {
  const turbojpeg = `jpeg-turbo-${platform}-${arch}${libc === 'musl' ? '-musl' : ''}`;
  return [
    ['onnxruntime-node/bin/napi-v6', [platform]],
    [`onnxruntime-node/bin/napi-v6/${platform}`, [arch]],
    ['onnxruntime-node', ['LICENSE', 'README.md', 'bin', 'dist', 'package.json', 'script']],
    ['@julusian/jpeg-turbo/prebuilds', [turbojpeg]],
    ['@julusian/jpeg-turbo', ['LICENSE', 'README.md', 'package.json', 'prebuilds']],
  ];
}

/** Removes from `modules` what neither this platform nor the licences of the packages ask for. */
export function pruneModules(modules, { platform, arch, libc }) {
  for (const [folder, names] of kept(platform, arch, libc)) {
    const path = join(modules, folder);
    if (!existsSync(path)) continue;
    const present = readdirSync(path);
    if (!present.some((name) => names.includes(name))) continue;
    for (const name of present)
      if (!names.includes(name)) rmSync(join(path, name), { recursive: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const [modules] = process.argv.slice(2);
  if (modules === undefined || !existsSync(modules))
    throw new Error('give the node_modules folder to prune');
  const libc =
    process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
  pruneModules(modules, { platform: process.platform, arch: process.arch, libc });
}
