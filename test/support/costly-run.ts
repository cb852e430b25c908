/**
 * Sends files that are made to take long to a decoder process, and checks its promises of time: so
 * much for each byte and each pixel, never more than the largest honest picture takes, and no
 * process lost.
 */
import { costlyJpeg } from './costly-jpegs.js';
import { costlyPng } from './costly-pngs.js';
import { costlyWebp, drawCodecs } from './costly-webps.js';
import { DecoderCpu } from './decoder-cpu.js';
import { createRandom, type Random } from './mutations.js';
import type { Scope } from './scope.js';

export const COSTLY_FORMATS = ['jpeg', 'png', 'webp'] as const;
export type CostlyFormat = (typeof COSTLY_FORMATS)[number];

/** Small, so that many files are sent: costs in proportion to the pixels show as well. */
const MOST_PIXELS = 8_000_000;
/**
 * What a file may cost, twice what is known of the honest (docs/internals/reliability.md): 250 ns
 * for each of its pixels where it repeats itself, 80 ns for each pixel of the largest picture, 2 µs
 * a row, and 200 ns a byte.
 */
const BASE_MS = 60;
const PIXEL_NS = 250;
const LIMIT_PIXEL_NS = 80;
const ROW_NS = 2_000;
const BYTE_NS = 200;

/** JPEG has no more; other formats reach the limit on pixels before they matter. */
const MOST_ROWS = 65_535;

/** What any file may cost where images are limited so. */
export function largestCostMs(maxImagePixels: number, maxImageBytes: number): number {
  const pixelsNs = maxImagePixels * LIMIT_PIXEL_NS + MOST_ROWS * ROW_NS;
  return BASE_MS + (pixelsNs + maxImageBytes * BYTE_NS) / 1e6;
}

export interface CostlyReport {
  readonly files: number;
  readonly answered: number;
  readonly cpuMs: number;
  /** The file that took longest; the one that took longest for its allowance. */
  readonly worst: Costly;
  readonly dearest: Costly;
  /** Broken promises. */
  readonly problems: readonly string[];
}

export interface Costly {
  readonly name: string;
  readonly bytes: number;
  readonly cpuMs: number;
  readonly allowedMs: number;
}

export async function sendCostly(
  scope: Scope,
  format: CostlyFormat,
  {
    count,
    seed,
    onFile = () => {},
  }: { count: number; seed: number; onFile?: (file: Buffer, costly: Costly) => void },
): Promise<CostlyReport> {
  const decoder = await DecoderCpu.start(scope, { maxImagePixels: MOST_PIXELS });
  const draw = await drawer(format);
  const none: Costly = { name: 'none', bytes: 0, cpuMs: 0, allowedMs: 1 };
  const problems: string[] = [];
  let [answered, cpuMs, worst, dearest] = [0, 0, none, none];
  for (let index = 0; index < count; index++) {
    // Each file has a seed of its own, so that it can be drawn without those before it.
    const file = draw(createRandom(seed * 1_000_003 + index));
    const { reply, cpuMs: took } = await decoder.decode(file);
    const [pixels, rows] =
      reply?.kind === 'done'
        ? [reply.output.width * reply.output.height, reply.output.height]
        : [MOST_PIXELS, 0];
    const pixelsNs = Math.min(pixels * PIXEL_NS, MOST_PIXELS * LIMIT_PIXEL_NS) + rows * ROW_NS;
    const allowedMs = BASE_MS + (pixelsNs + file.length * BYTE_NS) / 1e6;
    const costly = {
      name: `${format}, seed ${seed}, ${index}`,
      bytes: file.length,
      cpuMs: took,
      allowedMs,
    };
    onFile(file, costly);
    cpuMs += took;
    if (reply?.kind === 'done') answered++;
    if (took > worst.cpuMs) worst = costly;
    if (took / allowedMs > dearest.cpuMs / dearest.allowedMs) dearest = costly;
    if (reply === null)
      problems.push(`${costly.name}: a process was lost (${decoder.losses.at(-1)})`);
    else if (reply.kind === 'rejected' && !reply.reason.startsWith('IMAGE_')) {
      problems.push(`${costly.name}: ${reply.reason} ${reply.message}`);
    } else if (took > allowedMs) problems.push(`${costly.name}: ${describeCostly(costly)}`);
  }
  return { files: count, answered, cpuMs, worst, dearest, problems };
}

async function drawer(format: CostlyFormat): Promise<(random: Random) => Buffer> {
  if (format === 'jpeg') return (random) => costlyJpeg(random, MOST_PIXELS);
  if (format === 'png') return (random) => costlyPng(random, MOST_PIXELS);
  const codecs = await drawCodecs();
  return (random) => costlyWebp(random, MOST_PIXELS, codecs);
}

function describeCostly({ bytes, cpuMs, allowedMs }: Costly): string {
  return `${bytes} bytes took ${cpuMs} ms of processor time, ${Math.round(allowedMs)} are allowed`;
}

/** For people. */
export function describeCostlyReport({
  files,
  answered,
  cpuMs,
  worst,
  dearest,
  problems,
}: CostlyReport): string {
  return (
    `${files} files, ${answered} answered, ${(cpuMs / 1000).toFixed(1)} s of processor time; longest: ${worst.name}: ` +
    `${describeCostly(worst)}; nearest to its allowance: ${dearest.name}: ${describeCostly(dearest)}; ` +
    `${problems.length} problems`
  );
}
