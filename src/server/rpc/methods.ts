/** The methods of the ClassificationService: what each has its `Call` do. */
import type { handleBidiStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import type { ClassificationServiceHandlers } from '../../contract/generated/vitserve/v1/ClassificationService.js';
import type { EmbedRequest__Output } from '../../contract/generated/vitserve/v1/EmbedRequest.js';
import type { EmbedStreamRequest__Output } from '../../contract/generated/vitserve/v1/EmbedStreamRequest.js';
import type { Engine } from '../engine.js';
import { Call } from './call.js';
import { classify } from './classify.js';
import { embed } from './embed.js';
import type { Embedded, EmbeddedInStream } from './embed-serializer.js';
import { ImageStream } from './image-stream.js';
import { getModel, listModels } from './models.js';

/** The part of the engine that calls use. */
export type CallEngine = Pick<
  Engine,
  'permits' | 'admission' | 'checkDeadline' | 'imagesPerSecond' | 'resolve' | 'list' | 'classify'
>;

/** Embeddings are floats (`embed-serializer.ts`). */
type Methods = Pick<
  ClassificationServiceHandlers,
  'Classify' | 'ClassifyStream' | 'GetModel' | 'ListModels'
> & {
  readonly Embed: handleUnaryCall<EmbedRequest__Output, Embedded>;
  readonly EmbedStream: handleBidiStreamingCall<EmbedStreamRequest__Output, EmbeddedInStream>;
};

export function methodsOf(engine: CallEngine, clock: Clock): Methods {
  const common = { permits: engine.permits, clock };
  return {
    Classify: (call, reply) =>
      Call.of(call).answer(reply, (image) => classify(engine, call.request, image)),
    Embed: (call, reply) =>
      Call.of(call).answer(reply, (image) => embed(engine, call.request, image)),
    ClassifyStream: (stream) =>
      void new ImageStream(stream, {
        ...common,
        work: (request, image) => classify(engine, request, image),
      }),
    EmbedStream: (stream) =>
      void new ImageStream(stream, {
        ...common,
        work: (request, image) => embed(engine, request, image),
      }),
    GetModel: (call, reply) => Call.of(call).reply(reply, () => getModel(engine, call.request)),
    ListModels: (call, reply) => Call.of(call).reply(reply, () => listModels(engine, call.request)),
  };
}
