import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Crop,
  outputSize,
  planGeometry,
  type Recipe,
  type Resize,
} from '#vitserve/models/recipe.js';
import { readGolden } from '../../golden/golden.js';

interface ShortestEdgeCase {
  library: 'both';
  width: number;
  height: number;
  shortestEdge: number;
  resizedWidth: number;
  resizedHeight: number;
}

interface CropCase {
  library: 'torchvision' | 'transformers';
  width: number;
  height: number;
  cropWidth: number;
  cropHeight: number;
  cropLeft: number;
  cropTop: number;
}

function recipe(resize: Resize | null, crop: Crop | null): Recipe {
  const [mean, std] = [[0, 0, 0] as const, [1, 1, 1] as const];
  return {
    resize,
    interpolation: 'bilinear',
    crop,
    rescale: 1,
    mean,
    std,
    normalizedInGraph: true,
  };
}

const cases = readGolden<ShortestEdgeCase | CropCase>('geometry.json');
const isCrop = (one: ShortestEdgeCase | CropCase): one is CropCase => one.library !== 'both';

test('the shortest edge gives the sizes that torchvision and transformers give', () => {
  const golden = cases.filter((one): one is ShortestEdgeCase => !isCrop(one));
  assert.ok(golden.length > 0);
  for (const { width, height, shortestEdge, resizedWidth, resizedHeight } of golden) {
    const plan = planGeometry(
      recipe({ mode: 'shortest-edge', size: shortestEdge }, null),
      width,
      height,
    );
    assert.deepEqual(
      [plan.resizedWidth, plan.resizedHeight],
      [resizedWidth, resizedHeight],
      `${width} × ${height}`,
    );
    assert.deepEqual([plan.outputWidth, plan.outputHeight], [resizedWidth, resizedHeight]);
  }
});

for (const [library, rounding] of [
  ['transformers', 'floor'],
  ['torchvision', 'half-even'],
] as const) {
  test(`a crop rounded ${rounding} lies where ${library} puts it, padding included`, () => {
    const golden = cases.filter(isCrop).filter((one) => one.library === library);
    assert.ok(golden.some((one) => one.cropLeft < 0) && golden.some((one) => one.cropLeft > 0));
    for (const { width, height, cropWidth, cropHeight, cropLeft, cropTop } of golden) {
      const plan = planGeometry(
        recipe(null, { width: cropWidth, height: cropHeight, rounding }),
        width,
        height,
      );
      const what = `${cropWidth} × ${cropHeight} of ${width} × ${height}`;
      assert.deepEqual([plan.cropLeft, plan.cropTop], [cropLeft, cropTop], what);
    }
  });
}

const side = fc.integer({ min: 1, max: 65_535 });
const small = fc.integer({ min: 1, max: 1000 });
const resizes: fc.Arbitrary<Resize | null> = fc.oneof(
  fc.constant(null),
  fc.record({ mode: fc.constant('squash' as const), width: small, height: small }),
  fc.record({ mode: fc.constant('shortest-edge' as const), size: small }),
);
const crops: fc.Arbitrary<Crop | null> = fc.oneof(
  fc.constant(null),
  fc.record({
    width: small,
    height: small,
    rounding: fc.constantFrom('floor' as const, 'half-even' as const),
  }),
);

test('a crop is centred to within a pixel, inside the picture if it fits, around it if not', () => {
  fc.assert(
    fc.property(resizes, crops, side, side, (resize, crop, width, height) => {
      const plan = planGeometry(recipe(resize, crop), width, height);
      for (const [resized, offset, output] of [
        [plan.resizedWidth, plan.cropLeft, plan.outputWidth],
        [plan.resizedHeight, plan.cropTop, plan.outputHeight],
      ] as const) {
        assert.ok(resized >= 1 && Number.isInteger(resized) && Number.isInteger(offset));
        const behind = resized - output - offset;
        assert.ok(Math.abs(offset - behind) <= 1, `${offset} before, ${behind} behind`);
        if (output <= resized) assert.ok(offset >= 0 && behind >= 0);
        else assert.ok(offset <= 0 && behind <= 0);
      }
    }),
  );
});

test('the shortest edge has the given size, and the other keeps the aspect ratio', () => {
  fc.assert(
    fc.property(small, side, side, (size, width, height) => {
      const plan = planGeometry(recipe({ mode: 'shortest-edge', size }, null), width, height);
      assert.equal(Math.min(plan.resizedWidth, plan.resizedHeight), size);
      const exact = (size * Math.max(width, height)) / Math.min(width, height);
      const longer = Math.max(plan.resizedWidth, plan.resizedHeight);
      assert.ok(longer <= exact && exact - longer < 1);
      assert.equal(plan.resizedWidth >= plan.resizedHeight, width >= height || longer === size);
    }),
  );
});

test('the output size is known beforehand exactly if it does not depend on the picture', () => {
  fc.assert(
    fc.property(resizes, crops, side, side, (resize, crop, width, height) => {
      const known = outputSize(recipe(resize, crop));
      assert.equal(known === null, crop === null && resize?.mode !== 'squash');
      const plan = planGeometry(recipe(resize, crop), width, height);
      if (known !== null)
        assert.deepEqual(known, { height: plan.outputHeight, width: plan.outputWidth });
    }),
  );
});
