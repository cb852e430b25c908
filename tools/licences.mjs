// Renders docs/internals/licences.md: what of other people's comes with an installation, and under
// which licence. Everything in it is from the lockfile, so it is the same on every machine; what
// the packages carry inside of them stands in NATIVE, with the place where their own notices are.
import { readFileSync } from 'node:fs';

/** Packages with compiled code of further projects in them, by the beginning of their names. */
const NATIVE = [
  {
    packages: '@img/sharp-libvips-',
    has: 'libvips and what it is built from (libpng, libwebp, mozjpeg, glib, libexif and others)',
    licence: 'LGPL-3.0-or-later, and for its parts BSD, MIT, MPL, zlib, libpng and others',
    notices: 'its `README.md` lists every library and licence, its `versions.json` the versions',
  },
  {
    packages: '@julusian/jpeg-turbo',
    has: 'libjpeg-turbo, as a shared library in `prebuilds/`',
    licence: 'IJG, BSD-3-Clause and zlib; the package itself Apache-2.0',
    notices: 'below',
  },
  {
    packages: 'onnxruntime-node',
    has: 'ONNX Runtime, as a shared library in `bin/`',
    licence: 'MIT, and for its parts Apache-2.0, BSD, MIT and others',
    notices:
      'not in the package: `ThirdPartyNotices.txt` of the ONNX Runtime release of the same version',
  },
  {
    packages: 'koffi, @koromix/koffi-',
    has: 'the native part of Koffi',
    licence: 'MIT',
    notices: '`LICENSE.txt` in `koffi`',
  },
];

/**
 * The Modified BSD License of libjpeg-turbo, word for word, as it demands of who passes the
 * compiled library on.
 */
const TURBOJPEG_LICENCE = `> Copyright (C) 1991-2025 The libjpeg-turbo Project and many others. All Rights Reserved.
>
> Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
> conditions are met:
>
> - Redistributions of source code must retain the above copyright notice, this list of conditions and the following
>   disclaimer.
> - Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
>   disclaimer in the documentation and/or other materials provided with the distribution.
> - Neither the name of the libjpeg-turbo Project nor the names of its contributors may be used to endorse or promote products
>   derived from this software without specific prior written permission.
>
> THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS", AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING,
> BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT
> SHALL THE COPYRIGHT HOLDERS OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR
> CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR
> PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR
> TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY
> OF SUCH DAMAGE.`;

const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'));

/**
 * Name, version and licence of every package that an installation without development packages may
 * have, in order.
 */
export function runtimePackages() {
  const found = new Map();
  for (const [path, { version, license, dev, optional, name: alias }] of Object.entries(
    lock.packages,
  )) {
    if (path === '' || dev === true) continue;
    const name = alias ?? path.replace(/^.*node_modules\//, '');
    const licence = (license ?? '').replace(/^\((.*)\)$/, '$1');
    found.set(`${name}@${version}`, { name, version, licence, isOptional: optional === true });
  }
  return [...found.values()].sort((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1,
  );
}

/** Packages that come in one variant for each platform, as one row. */
function grouped(packages) {
  const groups = new Map();
  for (const each of packages) {
    const prefix = /^(@img\/sharp-libvips-|@img\/sharp-|@koromix\/koffi-)/.exec(each.name)?.[1];
    const key = prefix === undefined ? each.name : `${prefix}…`;
    const group = `${key} ${each.version} ${each.licence}`;
    const row = groups.get(group) ?? { ...each, name: key, count: 0 };
    groups.set(group, { ...row, count: row.count + 1 });
  }
  return [...groups.values()];
}

export function renderLicences() {
  const packages = runtimePackages();
  const rows = grouped(packages).map(({ name, version, licence, count, isOptional }) => {
    const which =
      count > 1 ? `one of ${count}, by platform` : isOptional ? 'on some platforms' : '';
    return `| \`${name}\` | ${version} | ${licence} | ${which} |`;
  });
  const natives = NATIVE.map(
    ({ packages: names, has, licence, notices }) =>
      `| ${names
        .split(', ')
        .map((name) => `\`${name}${name.endsWith('-') ? '…' : ''}\``)
        .join(', ')} | ${has} | ${licence} | ${notices} |`,
  );
  return `# Licences

Generated by \`npm run generate\` from \`package-lock.json\`; don't edit. vitserve itself is under
[Apache-2.0](../../LICENSE). An installation without development packages (\`npm ci --omit=dev\`) also
has these ${packages.length} packages, of which only the variants for the platform are installed. Each carries its
licence in \`node_modules\`. \`test/contract/licences.test.ts\` fails if a package has a licence that is
not on the list of accepted ones.

\`npm run -s sbom\` prints a bill of materials (CycloneDX) for scanners. It marks development
packages.

## Compiled code in packages

| Package | Contains | Licence | Notices |
|---|---|---|---|
${natives.join('\n')}

**LGPL.** libvips and some of its parts are under the LGPL, version 3 or later. vitserve does not
change them and loads them as shared libraries in separate processes. So anybody can replace them by
other builds: in \`node_modules/@img/sharp-libvips-*/lib\`, or by building sharp against the system's
libvips. Their sources are at <https://github.com/lovell/sharp-libvips>, under the version above. If
you distribute vitserve with \`node_modules\`, as in an image, you distribute these libraries too:
keep their notices in place and name the source as here.

**libjpeg-turbo.** This software is based in part on the work of the Independent JPEG Group. The
library and its TurboJPEG API are under the IJG licence, the zlib licence and this one, whose text
must accompany the library:

${TURBOJPEG_LICENCE}

## Packages

| Package | Version | Licence | |
|---|---|---|---|
${rows.join('\n')}
`;
}
