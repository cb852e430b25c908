/** Embed: one image in, its embedding out. */
import type { EmbedRequest__Output } from '../../contract/generated/vitserve/v1/EmbedRequest.js';
import type { EmbedResponse } from '../../contract/generated/vitserve/v1/EmbedResponse.js';
import { RequestError } from '../../errors.js';
import type { Engine } from '../engine.js';
import type { AdmittedImage } from './call.js';
import { toEmbedResponse } from './messages.js';

/** Rejects with RequestError, or with what went wrong inside. */
export async function embed(
  engine: Pick<Engine, 'resolve' | 'classify'>,
  request: EmbedRequest__Output,
  image: AdmittedImage,
): Promise<EmbedResponse> {
  const model = engine.resolve(request.model);
  const { info } = model;
  if (info.embeddingSize === 0) {
    const text = `model ${info.name} has no embedding output: use one with an embedding_size`;
    throw new RequestError('EMBEDDING_UNSUPPORTED', text);
  }
  const asked = { model, image: request.image, topK: 0, wantsEmbedding: true };
  const output = await engine.classify({ ...image, ...asked });
  return toEmbedResponse(output, image.record, info, request.normalize);
}
