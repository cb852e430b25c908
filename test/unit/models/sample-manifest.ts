/** A sound manifest of a small model, and ways to spoil it. */

const SOUND = {
  formatVersion: 1,
  description: 'A model for tests.',
  license: 'Apache-2.0',
  provenance: { producer: 'nobody' },
  graph: { file: 'model.onnx', sha256: '0'.repeat(64) },
  input: { name: 'pixels', layout: 'NHWC', type: 'uint8', height: 32, width: 32 },
  output: { name: 'probabilities', kind: 'probabilities', activation: 'softmax' },
  embedding: { name: 'embedding', size: 8 },
  preprocessing: {
    resize: { mode: 'squash', height: 32, width: 32 },
    interpolation: 'bilinear',
    crop: null,
    rescale: 1 / 255,
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
    normalizedInGraph: true,
  },
  labels: ['cat', 'dog'],
  batchInvariant: true,
};

/** The sound manifest with other values at dotted paths; `undefined` removes the key. */
export function manifestWith(changes: Readonly<Record<string, unknown>>): object {
  const manifest: object = structuredClone(SOUND);
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    let parent: object = manifest;
    for (const key of keys) parent = Reflect.get(parent, key) as object;
    if (value === undefined) Reflect.deleteProperty(parent, last);
    else Reflect.set(parent, last, value);
  }
  return manifest;
}
