/**
 * Top-1 accuracy of model folders on labelled images, through the same decoding and the same
 * sessions as the server.
 *
 * IMAGES has one folder a class, named as its label: cat/0001.jpg. Images are executed one by one.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bench } from './lib/bench.js';
import { Table } from './lib/figures.js';
import { openModel } from './lib/sessions.js';

export default bench({
  about: 'top-1 accuracy of models on labelled images',
  options: {},
  operands: 'IMAGES MODEL_FOLDER…',
  async run(_, [images, ...folders]) {
    if (images === undefined || folders.length === 0)
      throw new Error('which images, and which models? --help says more');
    const table = new Table('model', 'right', 'images', '%', 'ms an execution');
    for (const folder of folders) {
      const { manifest, session, pixelsOf } = await openModel(folder);
      let [right, total, runMs] = [0, 0, 0];
      for (const label of readdirSync(images)) {
        const truth = manifest.labels.indexOf(label);
        if (truth < 0) throw new Error(`${label} is no label of ${folder}`);
        for (const file of readdirSync(join(images, label))) {
          const pixels = await pixelsOf(join(images, label, file));
          const startedAt = performance.now();
          const { scores } = await session.run(pixels, 1);
          runMs += performance.now() - startedAt;
          if (scores.indexOf(Math.max(...scores)) === truth) right++;
          total++;
        }
      }
      const percent = ((right / total) * 100).toFixed(2);
      table.row(folder, right, total, percent, (runMs / total).toFixed(3));
    }
  },
});
