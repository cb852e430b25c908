/**
 * docs/start/models.md lists every key of the manifest: each is required where it stands, and there
 * are no others.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseManifest } from '#vitserve/models/manifest.js';
import { readJson, tableOf } from './repository.js';

type Json = Record<string, unknown>;

const SERVED = readJson<Json>('models/vit-cifar10/1/model.json');
const CROP = { height: 32, width: 32, rounding: 'floor' };

/** Two manifests that have every key between them. */
const MANIFESTS = [
  SERVED,
  {
    ...SERVED,
    graph: { ...(SERVED.graph as Json), weightBits: 7 },
    preprocessing: {
      ...(SERVED.preprocessing as Json),
      resize: { mode: 'shortest-edge', size: 36 },
      crop: CROP,
    },
  },
];

/** `graph.file` and the like. What `provenance` holds is the writer's own. */
function keysOf(value: Json, prefix = ''): string[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    const path = prefix + key;
    const isObject =
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) && path !== 'provenance';
    return [path, ...(isObject ? keysOf(inner as Json, `${path}.`) : [])];
  });
}

/** A copy without the key, or null where it has none. */
function without(manifest: Json, path: string): Json | null {
  const copy = structuredClone(manifest);
  const keys = path.split('.');
  let holder: Json | undefined = copy;
  for (const key of keys.slice(0, -1)) holder = holder?.[key] as Json | undefined;
  const last = keys.at(-1) as string;
  if (holder === undefined || holder === null || !(last in holder)) return null;
  delete holder[last];
  return copy;
}

/** May be left out. */
const OPTIONAL = ['graph.weightBits'];

describe('the manifest table', () => {
  const documented = [
    ...tableOf('docs/start/models.md', 'Key').map(({ Key }) => Key as string),
    ...tableOf('docs/start/models.md', 'Key of the recipe').map(
      (row) => `preprocessing.${row['Key of the recipe']}`,
    ),
  ];

  test('has every key of a manifest, and no other', () => {
    const used = new Set(MANIFESTS.flatMap((manifest) => keysOf(manifest)));
    const containers = ['graph', 'input', 'output'];
    assert.deepEqual(
      [...documented].sort(),
      [...used].filter((key) => !containers.includes(key)).sort(),
    );
  });

  for (const key of OPTIONAL) {
    test(`${key} may be left out, and is not anything`, () => {
      const [full] = MANIFESTS.filter((manifest) => without(manifest, key) !== null);
      assert.ok(full !== undefined);
      assert.ok('manifest' in parseManifest(JSON.stringify(without(full, key))));
      const wrong = { ...full, graph: { ...(full.graph as Json), weightBits: 6 } };
      const parsed = parseManifest(JSON.stringify(wrong));
      assert.deepEqual(parsed, { problems: ['graph.weightBits: must be 7 or 8, or absent'] });
    });
  }

  for (const key of documented.filter((one) => !OPTIONAL.includes(one))) {
    test(`${key} is required`, () => {
      const copies = MANIFESTS.map((manifest) => without(manifest, key)).filter(
        (copy) => copy !== null,
      );
      assert.ok(copies.length > 0);
      for (const copy of copies) {
        const parsed = parseManifest(JSON.stringify(copy));
        assert.ok('problems' in parsed, `a manifest without ${key} is accepted`);
        assert.ok(
          parsed.problems.some((problem) => problem.startsWith(key)),
          parsed.problems.join('\n'),
        );
      }
    });
  }

  test('the manifests of this test are sound', () => {
    for (const manifest of MANIFESTS)
      assert.deepEqual('problems' in parseManifest(JSON.stringify(manifest)), false);
  });
});
