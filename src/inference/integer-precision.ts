/**
 * Whether this CPU multiplies uint8 by int8 without overflow.
 *
 * Where x64 has no VNNI, the instruction at hand adds two such products in 16 bits and saturates, so int8 graphs answer
 * wrongly without any error. onnxruntime has a slower way round (uint8 by uint8), which has to be asked for by an option;
 * asked for everywhere, it would make CPUs with VNNI a third slower too. Other architectures are not affected.
 */
import { readFileSync } from 'node:fs';

/** The flags that Linux lists for CPUs with VNNI, of 512 and of 256 bits. */
const VNNI = /^flags\s*:.*\bavx(512)?_vnni\b/m;

/** The value of onnxruntime's `session.x64quantprecision` for this machine: `1` takes the way round. */
export function integerPrecision(): '0' | '1' {
  if (process.arch !== 'x64') return '0';
  try {
    return saturates(readFileSync('/proc/cpuinfo', 'utf8')) ? '1' : '0';
  } catch {
    return '1';
  }
}

/** @param cpuinfo the text of `/proc/cpuinfo` on x64 */
export function saturates(cpuinfo: string): boolean {
  return !VNNI.test(cpuinfo);
}
