/**
 * The two floating-point formats of 16 bits: IEEE 754 binary16 (FLOAT16) and bfloat16, the upper
 * half of a float32.
 *
 * Widening is exact. Narrowing rounds once, to the nearest value, ties to even: a double is not
 * rounded to float32 first. Bytes are little-endian, as in ONNX and safetensors.
 */

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/**
 * Bits of a float32 that round further as the double itself would: an inexact value is truncated
 * and its last bit set ("round to odd"), which lies below every bit that is kept.
 */
function float32Bits(value: number): number {
  const rounded = Math.fround(value);
  FLOAT[0] = rounded;
  const bits = BITS[0] ?? 0;
  if (rounded === value || !Number.isFinite(value)) return bits;
  const towardsZero = Math.abs(rounded) > Math.abs(value) ? bits - 1 : bits;
  return (towardsZero | 1) >>> 0;
}

function numberOfFloat32Bits(bits: number): number {
  BITS[0] = bits;
  return FLOAT[0] ?? 0;
}

/**
 * Whether a magnitude whose lowest `count` bits are dropped is rounded up, given the bits that are
 * kept.
 */
function roundsUp(magnitude: number, count: number, kept: number): boolean {
  const dropped = magnitude & ((1 << count) - 1);
  const middle = 1 << (count - 1);
  return dropped > middle || (dropped === middle && (kept & 1) === 1);
}

function float16OfFloat32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200 | (fraction >>> 13));
  const narrowed = exponent - 112;
  if (narrowed >= 31) return sign | 0x7c00;
  if (narrowed > 0) {
    const kept = (narrowed << 10) | (fraction >>> 13);
    // A carry out of the fraction goes into the exponent, up to infinity, as it should.
    return sign | (roundsUp(fraction, 13, kept) ? kept + 1 : kept);
  }
  if (narrowed < -10) return sign;
  const magnitude = fraction | 0x800000;
  const kept = magnitude >>> (14 - narrowed);
  return sign | (roundsUp(magnitude, 14 - narrowed, kept) ? kept + 1 : kept);
}

/** The nearest binary16, as its 16 bits; infinity from 65520 on. */
export function numberToFloat16(value: number): number {
  return float16OfFloat32Bits(float32Bits(value));
}

/** The number that 16 bits of binary16 stand for. */
export function float16ToNumber(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return (sign === 0 ? 1 : -1) * fraction * 2 ** -24;
  const widened = exponent === 0x1f ? 0xff : exponent + 112;
  return numberOfFloat32Bits((sign | (widened << 23) | (fraction << 13)) >>> 0);
}

/** The nearest bfloat16, as its 16 bits. */
export function numberToBfloat16(value: number): number {
  const bits = float32Bits(value);
  const kept = bits >>> 16;
  if (Number.isNaN(value)) return kept | 0x40;
  return roundsUp(bits, 16, kept) ? kept + 1 : kept;
}

/** The number that 16 bits of bfloat16 stand for. */
export function bfloat16ToNumber(bits: number): number {
  return numberOfFloat32Bits((bits << 16) >>> 0);
}

let widened: Float32Array | null = null;

/** All 65,536 values of binary16, made on first use: widening is then one look-up a value. */
function float16Table(): Float32Array {
  widened ??= Float32Array.from({ length: 65536 }, (_, bits) => float16ToNumber(bits));
  return widened;
}

/** Widens binary16 values, 2 bytes each. */
export function widenFloat16(bytes: Uint8Array): Float32Array {
  const table = float16Table();
  const values = new Float32Array(bytes.length >> 1);
  for (let index = 0; index < values.length; index++) {
    values[index] = table[(bytes[2 * index] ?? 0) | ((bytes[2 * index + 1] ?? 0) << 8)] ?? 0;
  }
  return values;
}

/** Widens bfloat16 values, 2 bytes each. */
export function widenBfloat16(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length >> 1);
  const bits = new Uint32Array(values.buffer);
  for (let index = 0; index < values.length; index++) {
    bits[index] = ((bytes[2 * index] ?? 0) << 16) | ((bytes[2 * index + 1] ?? 0) << 24);
  }
  return values;
}

/** Rounds to binary16, 2 bytes a value. */
export function narrowToFloat16(values: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  for (let index = 0; index < values.length; index++) {
    const bits = numberToFloat16(values[index] ?? 0);
    bytes[2 * index] = bits & 0xff;
    bytes[2 * index + 1] = bits >>> 8;
  }
  return bytes;
}
