// Time and peak memory of `vitserve convert` for a checkpoint of real size: writes one with random
// weights, named as transformers names them, into a scratch folder, and converts it with the built
// program.
//
//   npm run build && node bench/convert.mjs [B/16|L/16|…] [flags of convert…]
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { variantArchitecture } from '../dist/onnx/vit/random.js';

const [variant = 'B/16', ...flags] = process.argv.slice(2);
const image = { height: 224, width: 224 };
const { hidden, layers, heads, mlp, patch, classes } = variantArchitecture(variant, image, 1000);
const positions = (image.height / patch.height) * (image.width / patch.width) + 1;

const dense = (name, outputs, ...inputs) => [
  [`${name}.weight`, [outputs, ...inputs]],
  [`${name}.bias`, [outputs]],
];
const norm = (name) => dense(name, hidden);
const layer = (index) => {
  const name = `vit.encoder.layer.${index}`;
  return [
    ...norm(`${name}.layernorm_before`),
    ...['query', 'key', 'value'].flatMap((part) =>
      dense(`${name}.attention.attention.${part}`, hidden, hidden),
    ),
    ...dense(`${name}.attention.output.dense`, hidden, hidden),
    ...norm(`${name}.layernorm_after`),
    ...dense(`${name}.intermediate.dense`, mlp, hidden),
    ...dense(`${name}.output.dense`, hidden, mlp),
  ];
};
const tensors = [
  ['vit.embeddings.cls_token', [1, 1, hidden]],
  ['vit.embeddings.position_embeddings', [1, positions, hidden]],
  ...dense('vit.embeddings.patch_embeddings.projection', hidden, 3, patch.height, patch.width),
  ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
  ...norm('vit.layernorm'),
  ...dense('classifier', classes, hidden),
];

const scratch = mkdtempSync(join(tmpdir(), 'vitserve-convert-'));
try {
  const header = {};
  let offset = 0;
  for (const [name, shape] of tensors) {
    const end = offset + 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(scratch, 'model.safetensors'), 'w');
  writeSync(file, length);
  writeSync(file, text);
  const noise = Float32Array.from({ length: 2 ** 20 }, () => (Math.random() - 0.5) * 0.07);
  const bytes = new Uint8Array(noise.buffer);
  for (let left = offset; left > 0; left -= bytes.length)
    writeSync(file, bytes, 0, Math.min(left, bytes.length));
  closeSync(file);
  const config = {
    model_type: 'vit',
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
  };
  const rest = {
    intermediate_size: mlp,
    patch_size: patch.height,
    image_size: image.height,
    layer_norm_eps: 1e-12,
  };
  writeFileSync(join(scratch, 'config.json'), JSON.stringify({ ...config, ...rest }));
  writeFileSync(join(scratch, 'preprocessor_config.json'), JSON.stringify({ size: image.height }));

  const stored = statSync(join(scratch, 'model.safetensors')).size;
  console.log(
    `${variant}: ${(offset / 4e6).toFixed(1)} M parameters, ${(stored / 2 ** 20).toFixed(0)} MiB`,
  );
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const begin = performance.now();
  const argv = [
    main,
    'convert',
    scratch,
    '--model-repository',
    join(scratch, 'models'),
    '--name',
    'converted',
    ...flags,
  ];
  const { status } = spawnSync(process.execPath, argv, { stdio: 'inherit' });
  console.log(
    `exit code ${status}, ${((performance.now() - begin) / 1000).toFixed(1)} s with the start of the program`,
  );
} finally {
  rmSync(scratch, { recursive: true });
}
