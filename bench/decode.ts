/**
 * CPU time from a JPEG file to 224 × 224 pixels: vitserve's decoder against sharp's own pipeline
 * and Pillow.
 *
 * Every candidate takes all photos in turn, in two processes at the same time so that two cores are
 * busy, one candidate after the other within each round. Printed is the median over rounds and
 * processes of the CPU time a photo (user and system, all threads), and vitserve's ratio to it.
 * Pillow runs where there is a Python with it.
 */
import type { DecodersSpec } from './children/decoders.js';
import { bench, photos, rounds } from './lib/bench.js';
import { type Children, ownChild, startChildren } from './lib/children.js';
import { median, Table } from './lib/figures.js';
import { pythonWith } from './lib/machine.js';
import { described, jpegsIn, photosFolder, photosOf } from './lib/pictures.js';
import { withScratch } from './lib/scratch.js';

const SIDE = 224;
const COPIES = 2;

const PYTHON = `
import io, json, sys, time
from PIL import Image
photos = [open(path, 'rb').read() for path in sys.argv[1:]]
print(json.dumps(['Pillow, bilinear', 'Pillow, bicubic']), flush=True)
for line in sys.stdin:
    kernel = Image.Resampling[json.loads(line).split()[-1].upper()]
    start = time.process_time()
    for photo in photos:
        Image.open(io.BytesIO(photo)).convert('RGB').resize((${SIDE}, ${SIDE}), kernel).tobytes()
    print((time.process_time() - start) * 1000 / len(photos), flush=True)
`;

/** Their names; asked for one, its CPU-ms a photo. */
type Decoders = Children<string[], string, number>;

async function startAll(folder: string): Promise<Decoders[]> {
  const spec = (kind: DecodersSpec['kind']): DecodersSpec => ({ folder, side: SIDE, kind });
  const programs = [ownChild('decoders', spec('vitserve')), ownChild('decoders', spec('sharp'))];
  const python = pythonWith(['PIL']);
  if (python === null) console.log('Pillow is left out: no Python that has it');
  else programs.push([python, ['-c', PYTHON, ...jpegsIn(folder)]]);
  return await Promise.all(
    programs.map((program): Promise<Decoders> => startChildren(COPIES, ...program)),
  );
}

export default bench({
  about: 'CPU time from a JPEG file to pixels, beside sharp and Pillow',
  options: { rounds: rounds(5), photos: photos() },
  async run(given) {
    await withScratch(async (scratch) => {
      const folder = await photosFolder(given.photos, scratch);
      console.log(`${described(await photosOf(folder))}, ${COPIES} processes at a time\n`);
      const decoders = await startAll(folder);
      const times = new Map<string, number[]>();
      // The round before the first wakes JIT compilers and caches, and is not counted.
      for (let round = -1; round < given.rounds; round++) {
        for (const { greeting: names, ask } of decoders) {
          for (const name of names) {
            const measured = await ask(name);
            if (round >= 0) times.set(name, [...(times.get(name) ?? []), ...measured]);
          }
        }
      }
      for (const { end } of decoders) end();
      const table = new Table('', 'CPU-ms a photo', 'vitserve, bilinear / it', 'bicubic / it');
      const of = (name: string) => median(times.get(name) ?? []);
      for (const name of times.keys()) {
        const ratios = ['vitserve, bilinear', 'vitserve, bicubic'].map(
          (ours) => of(ours) / of(name),
        );
        table.row(name, of(name).toFixed(2), ...ratios.map((ratio) => ratio.toFixed(2)));
      }
    });
  },
});
