/** Embed: one image in, its embedding out. Each image of an EmbedStream goes through it too. */

import type { EmbedRequest__Output } from '../../contract/generated/vitserve/v1/EmbedRequest.js';
import { RequestError } from '../../errors.js';
import type { Engine } from '../engine.js';
import type { AdmittedImage } from './call.js';
import type { Embedded } from './embed-serializer.js';
import { toEmbedded } from './messages.js';

/** Rejects with RequestError, or with what went wrong inside. */
export async function embed(
  engine: Pick<Engine, 'resolve' | 'classify'>,
  request: EmbedRequest__Output,
  image: AdmittedImage,
): Promise<Embedded> {
  const model = engine.resolve(request.model);
  const { info } = model;
  if (info.embeddingSize === 0) {
    const text = `model ${info.name} has no embedding output: use one with an embedding_size`;
    throw new RequestError('EMBEDDING_UNSUPPORTED', text);
  }
  const { dimensions } = request;
  if (dimensions < 0 || dimensions > info.embeddingSize) {
    const text = `dimensions is ${dimensions}: send 1 to ${info.embeddingSize}, or 0 for all`;
    throw new RequestError('DIMENSIONS_OUT_OF_RANGE', text);
  }
  const asked = { model, image: request.image, topK: 0, wantsEmbedding: true };
  const output = await engine.classify({ ...image, ...asked });
  return toEmbedded(output, image.record, info, request);
}
