/**
 * The manifest, `model.json`: describes a served model beside its graph.
 *
 * It says how the graph is fed (name, layout, type, size), what it answers (output, kind,
 * activation, embedding), how pictures become pixels (the recipe), the names of the classes, and
 * where the weights came from. It is checked strictly: an unknown or missing key is a start-up
 * problem with the path of the key, never a guess.
 */
import { z } from 'zod';
import type { Recipe } from './recipe.js';

const size = z.int().min(1).max(4096);
const channelTriple = z.tuple([z.number(), z.number(), z.number()]);

const recipeSchema = z.strictObject({
  resize: z.nullable(
    z.discriminatedUnion('mode', [
      z.strictObject({ mode: z.literal('squash'), height: size, width: size }),
      z.strictObject({ mode: z.literal('shortest-edge'), size }),
    ]),
  ),
  interpolation: z.enum(['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos']),
  crop: z.nullable(
    z.strictObject({ height: size, width: size, rounding: z.enum(['floor', 'half-even']) }),
  ),
  rescale: z.number().positive(),
  mean: channelTriple,
  std: channelTriple.refine((values) => values.every((value) => value > 0), 'must be above zero'),
  normalizedInGraph: z.boolean(),
}) satisfies z.ZodType<Recipe>;

const manifestSchema = z
  .strictObject({
    formatVersion: z.literal(1),
    description: z.string(),
    license: z.string(),
    provenance: z.record(z.string(), z.string()),
    graph: z.strictObject({
      /** A file name in the manifest's own folder. */
      file: z.string().regex(/^[\w.-]+$/, 'must be the name of a file in the same folder'),
      sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits'),
      /**
       * How many bits of its int8 weights are used. Absent if it has none, or if that is unknown:
       * answers are right in any case; only statements about speed depend on it.
       */
      weightBits: z.optional(
        z.union([z.literal(7), z.literal(8)], { error: 'must be 7 or 8, or absent' }),
      ),
    }),
    input: z.strictObject({
      name: z.string().min(1),
      /** `[batch, height, width, 3]` or `[batch, 3, height, width]`. */
      layout: z.enum(['NHWC', 'NCHW']),
      type: z.enum(['uint8', 'float32']),
      height: size,
      width: size,
    }),
    output: z.strictObject({
      name: z.string().min(1),
      /** What the graph answers with, float32 `[batch, classes]`. */
      kind: z.enum(['logits', 'probabilities']),
      /**
       * Makes probabilities of logits; the inference process applies it only if `kind` is `logits`.
       */
      activation: z.enum(['softmax', 'sigmoid', 'none']),
    }),
    /**
     * The representation under the head, float32 `[batch, size]`; null if the graph has no such
     * output.
     */
    embedding: z.nullable(z.strictObject({ name: z.string().min(1), size: z.int().min(1) })),
    preprocessing: recipeSchema,
    labels: z.array(z.string().min(1)).min(1),
    /**
     * Whether an image's answer is the same in any batch. If not, images are executed one by one.
     * `accelerator`: it is the same to within rounding (float16), so batches are made on an
     * accelerator, where they pay, and not on the CPU.
     */
    batchInvariant: z.union([z.boolean(), z.literal('accelerator')], {
      error: 'must be true, false or "accelerator"',
    }),
  })
  .refine(
    ({ input, preprocessing }) => preprocessing.normalizedInGraph === (input.type === 'uint8'),
    {
      path: ['preprocessing', 'normalizedInGraph'],
      message: 'must be true for a uint8 input, false for a float32 input',
    },
  );

export type Manifest = z.infer<typeof manifestSchema>;

/** Bytes of one image as the model takes it: height × width × 3. */
export function pixelBytesOf({ input }: Manifest): number {
  return input.height * input.width * 3;
}

/** Whether images of the model may be executed together on this provider. */
export function mayBatch({ batchInvariant }: Manifest, provider: string): boolean {
  return batchInvariant === 'accelerator' ? provider !== 'cpu' : batchInvariant;
}

/**
 * Parses manifest text into the manifest, or every problem found, one line each, `path: what is
 * wrong`.
 */
export function parseManifest(text: string): { manifest: Manifest } | { problems: string[] } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return { problems: [`not JSON (${(error as Error).message})`] };
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return { manifest: parsed.data };
  return {
    problems: parsed.error.issues.map(
      ({ path, message }) => `${path.join('.') || 'manifest'}: ${message}`,
    ),
  };
}
