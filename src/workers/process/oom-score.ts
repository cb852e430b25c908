/**
 * Which process the kernel kills when memory runs out. By default it kills the largest one (of the
 * container, where that has a limit). That may be the front: then every call is lost, and nothing
 * restarts the children.
 *
 * So children raise their own `oom_score_adj`, which needs no privilege; see
 * proc_pid_oom_score_adj(5). A thousand stands for the whole memory: a child with 500 more is
 * killed before a front that uses up to half of the memory more than the child. Decoders go before
 * inference processes: a decoder restarts in a fraction of a second and costs one image, which is
 * retried, while an inference process loads its model for seconds and may be the only one. The
 * score adds to that of the server, so that the operator's choice among other programs stays.
 */
import { readFileSync, writeFileSync } from 'node:fs';

export const DECODER_OOM_SCORE = 800;
export const INFERENCE_OOM_SCORE = 500;

const FILE = '/proc/self/oom_score_adj';
const HIGHEST = 1000;

/**
 * For a child, before it takes memory. Does nothing where the file cannot be written (no Linux, a
 * read-only /proc).
 */
export function addToOomScore(added: number): void {
  try {
    const given = Number(readFileSync(FILE, 'latin1'));
    writeFileSync(FILE, String(Math.min(given + added, HIGHEST)));
  } catch {
    // The kernel then chooses by size alone.
  }
}
