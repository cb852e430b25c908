/**
 * Which process goes when memory runs out. Left to itself the kernel ends the largest one (of the
 * container, where that has a limit), which may be the front: every call would be lost and nobody
 * would be left to replace anything.
 *
 * So children raise their own `oom_score_adj`, which needs no privilege; see
 * proc_pid_oom_score_adj(5). A thousand is as much as all of the memory there is, so that a child
 * with 500 more goes before a front that holds up to half of the memory more than it does. Decoders
 * go before inference processes: one is replaced in a fraction of a second and costs one image,
 * which is decoded again, where the other loads a model for seconds and may be the only one. Added
 * to what the server itself was given, so that it stays as safe, or not, among other programs as
 * its operator meant it to be.
 */
import { readFileSync, writeFileSync } from 'node:fs';

export const DECODER_OOM_SCORE = 800;
export const INFERENCE_OOM_SCORE = 500;

const FILE = '/proc/self/oom_score_adj';
const HIGHEST = 1000;

/**
 * For a child, before it takes memory. Where the file can't be written (no Linux, a read-only
 * /proc) nothing is done.
 */
export function addToOomScore(added: number): void {
  try {
    const given = Number(readFileSync(FILE, 'latin1'));
    writeFileSync(FILE, String(Math.min(given + added, HIGHEST)));
  } catch {
    // The kernel then chooses by size alone, as it does for other programs.
  }
}
