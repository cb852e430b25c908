/** Classify: one image in, the best classes out. Each image of a stream goes through it too. */
import type { ClassifyRequest__Output } from '../../contract/generated/vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import { RequestError } from '../../errors.js';
import type { Engine } from '../engine.js';
import type { AdmittedImage } from './call.js';
import { toClassifyResponse } from './messages.js';

const DEFAULT_TOP_K = 5;

/** Rejects with RequestError, or with what went wrong inside. */
export async function classify(
  engine: Pick<Engine, 'resolve' | 'classify'>,
  request: ClassifyRequest__Output,
  image: AdmittedImage,
): Promise<ClassifyResponse> {
  const model = engine.resolve(request.model);
  const { labels } = model.info;
  if (request.topK < 0) {
    const text = `top_k is ${request.topK}: send 0 (the default of ${DEFAULT_TOP_K}) or more`;
    throw new RequestError('TOP_K_OUT_OF_RANGE', text);
  }
  const topK = Math.min(request.topK === 0 ? DEFAULT_TOP_K : request.topK, labels.length);
  const asked = { model, image: request.image, topK, wantsEmbedding: false };
  const output = await engine.classify({ ...image, ...asked });
  return toClassifyResponse(output, image.record, model.info);
}
