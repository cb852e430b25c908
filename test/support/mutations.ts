/**
 * Deliberate damage to files: what the formats share. The same seed gives the same files, on every
 * machine that draws the same originals.
 */

/** An integer from 0 to before `below`. */
export type Random = (below: number) => number;

/**
 * Numerical Recipes' linear congruential generator; the upper bits, because the lower ones repeat
 * soon.
 */
export function createRandom(seed: number): Random {
  let state = (Math.imul(seed, 2_654_435_761) + 1) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export type Mutation = (file: Buffer, random: Random) => Buffer;

export interface MutatedFile {
  /** What was done to which file, with the seed: for messages. */
  readonly name: string;
  readonly bytes: Buffer;
  /** The file it was made from. */
  readonly base: number;
}

/** A format: whole files, and kinds of damage. */
export interface Mutations {
  /** Small, so that thousands take seconds. */
  readonly draw: () => Promise<readonly Buffer[]>;
  readonly kinds: Readonly<Record<string, Mutation>>;
  /** Whether enough is left of a file for a second damage. */
  readonly isStructured: (file: Buffer) => boolean;
}

/**
 * `count` damaged files; each base file and each kind of damage in turn, one or two of them at a
 * time.
 */
export function mutateFiles(
  bases: readonly Buffer[],
  { kinds, isStructured }: Mutations,
  count: number,
  seed: number,
): MutatedFile[] {
  const random = createRandom(seed);
  const damages = Object.entries(kinds);
  return Array.from({ length: count }, (_, index) => {
    const base = index % bases.length;
    const [kind, mutation] = damages[Math.floor(index / bases.length) % damages.length] as [
      string,
      Mutation,
    ];
    let bytes = mutation(bases[base] as Buffer, random);
    let name = `seed ${seed}, ${index}: file ${base}, ${kind}`;
    if (random(4) === 0 && isStructured(bytes)) {
      const [second, again] = damages[random(damages.length)] as [string, Mutation];
      bytes = again(bytes, random);
      name += `, ${second}`;
    }
    return { name, bytes, base };
  });
}

/** `remove` bytes from `at` on replaced by others. */
export function splice(
  file: Buffer,
  at: number,
  remove: number,
  insert: Uint8Array = Buffer.alloc(0),
): Buffer {
  return Buffer.concat([file.subarray(0, at), insert, file.subarray(at + remove)]);
}

/** A copy in which something was changed between `from` and `to`. */
export function within(
  file: Buffer,
  random: Random,
  change: (copy: Buffer, at: number) => void,
  from = 0,
  to = file.length,
): Buffer {
  const copy = Buffer.from(file);
  const at = from + random(Math.max(1, Math.min(to, copy.length) - from));
  if (at < copy.length) change(copy, at);
  return copy;
}

export const flip = (random: Random) => (bytes: Buffer, at: number) => {
  bytes[at] = (bytes[at] as number) ^ (1 << random(8));
};
export const replace = (random: Random) => (bytes: Buffer, at: number) => {
  bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random(256)][random(6)] as number;
};

export const cutOff: Mutation = (file, random) =>
  file.subarray(0, 16 + random(Math.max(1, file.length - 16)));
export const cutOffNearTheEnd: Mutation = (file, random) =>
  file.subarray(0, Math.max(16, file.length - 1 - random(40)));
export const pieceOut: Mutation = (file, random) =>
  splice(file, 16 + random(file.length), 1 + random(64));
export const somethingBehind: Mutation = (file, random) =>
  Buffer.concat([file, file.subarray(0, random(file.length))]);

export function oneOf<Value>(values: readonly Value[], random: Random): Value {
  return values[random(values.length)] as Value;
}

export function randomBytes(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}
