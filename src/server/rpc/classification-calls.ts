/**
 * The five calls of the ClassificationService: request message in, response message or RequestError
 * out.
 */
import type { sendUnaryData } from '@grpc/grpc-js';
import { status as grpcStatus } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import type { ClassificationServiceHandlers } from '../../contract/generated/vitserve/v1/ClassificationService.js';
import type { ClassifyRequest__Output } from '../../contract/generated/vitserve/v1/ClassifyRequest.js';
import type { ClassifyResponse } from '../../contract/generated/vitserve/v1/ClassifyResponse.js';
import { RequestError, toRequestError } from '../../errors.js';
import type { Admission } from '../admission/admission.js';
import type { Permit } from '../admission/permits.js';
import type { ModelLine } from '../models/model-line.js';
import { type ImageRecord, newImageRecord } from '../pipeline/image-record.js';
import type { Answer, ImageRequest } from '../pipeline/pipeline.js';
import { contextOf, leavingError, takePermit } from './admission-interceptor.js';
import { ClassifyStreamCall } from './classify-stream.js';
import { toClassifyResponse, toEmbedResponse, toModel } from './messages.js';
import { pageOf } from './pages.js';
import { toCallStatus } from './status.js';

const USUAL_TOP_K = 5;

/** The part of a call that this file needs; unary calls and streams both have it. */
export interface ServerCall {
  readonly metadata: Parameters<typeof contextOf>[0];
  getDeadline(): Date | number;
  on(event: 'cancelled', listener: () => void): unknown;
}

/** Which models there are; `server/models/model-catalog.ts` is shaped like it. */
export interface Models {
  /** The default model for ''. Throws RequestError MODEL_UNKNOWN. */
  resolve(name: string): ModelLine;
  /** By name. */
  list(): readonly ModelLine[];
}

export interface ClassificationOptions {
  readonly admission: Admission;
  readonly clock: Clock;
  /** The straight line; absent until the processes are up, when no call gets this far. */
  readonly answer: (request: ImageRequest, permit: Permit) => Promise<Answer>;
  /** The models that are served; throws RequestError STARTING while there are none. */
  readonly models: () => Models;
}

export class ClassificationCalls {
  readonly #options: ClassificationOptions;
  readonly #streams = new Set<ClassifyStreamCall>();
  /** One for each unary call that is being answered. */
  readonly #cuts = new Set<() => void>();

  constructor(options: ClassificationOptions) {
    this.#options = options;
  }

  /** Ends every call that is still open, with DRAINING: the time to finish them is over. */
  cut(): void {
    for (const cut of this.#cuts) cut();
    for (const stream of this.#streams) stream.cut();
  }

  /** Streams take no further images: each ends when those that it has are answered. */
  drainStreams(): void {
    for (const stream of this.#streams) stream.drain();
  }

  readonly handlers: ClassificationServiceHandlers = {
    Classify: (call, reply) =>
      this.#answerUnary(call, reply, (signal, permit, record) =>
        this.classify(call.request, call, { ofStream: false, record }, signal, permit),
      ),

    Embed: (call, reply) =>
      this.#answerUnary(call, reply, async (signal, permit, record) => {
        const { image, normalize } = call.request;
        const line = this.#options.models().resolve(call.request.model);
        const { model } = line;
        if (model.embeddingSize === 0) {
          throw new RequestError(
            'EMBEDDING_UNSUPPORTED',
            `model ${model.name} has no embedding output`,
          );
        }
        const request = this.#imageRequest(call, signal, {
          line,
          image,
          topK: 0,
          wantsEmbedding: true,
          ofStream: false,
          record,
        });
        return toEmbedResponse(await this.#options.answer(request, permit), model, normalize);
      }),

    ClassifyStream: (call) => {
      const stream = new ClassifyStreamCall(
        call,
        this.#options,
        (request, signal, permit, record) =>
          this.classify(request, call, { ofStream: true, record }, signal, permit),
      );
      this.#streams.add(stream);
      stream.run().finally(() => this.#streams.delete(stream));
    },

    GetModel: (call, reply) =>
      this.#reply(call, reply, () =>
        toModel(this.#options.models().resolve(call.request.model).model),
      ),

    ListModels: (call, reply) =>
      this.#reply(call, reply, () => {
        const { pageSize, pageToken } = call.request;
        const models = this.#options
          .models()
          .list()
          .map(({ model }) => model);
        const { page, nextPageToken } = pageOf(models, pageSize, pageToken);
        return { models: page.map(toModel), nextPageToken };
      }),
  };

  /** Classifies one image. Takes the permit over. */
  async classify(
    request: ClassifyRequest__Output,
    call: ServerCall,
    { ofStream, record }: { readonly ofStream: boolean; readonly record: ImageRecord },
    signal: AbortSignal,
    permit: Permit,
  ): Promise<ClassifyResponse> {
    const line = this.#options.models().resolve(request.model);
    const { model } = line;
    if (request.topK < 0) {
      throw new RequestError(
        'TOP_K_OUT_OF_RANGE',
        `top_k is ${request.topK}: send 0 (five) or more`,
      );
    }
    const topK = Math.min(request.topK === 0 ? USUAL_TOP_K : request.topK, model.labels.length);
    const { image } = request;
    const asked = { line, image, topK, wantsEmbedding: false, ofStream, record };
    const imageRequest = this.#imageRequest(call, signal, asked);
    return toClassifyResponse(await this.#options.answer(imageRequest, permit), model);
  }

  #imageRequest(
    call: ServerCall,
    signal: AbortSignal,
    asked: Pick<ImageRequest, 'line' | 'image' | 'topK' | 'wantsEmbedding' | 'ofStream' | 'record'>,
  ): ImageRequest {
    const { clock } = this.#options;
    const leftMs = Number(call.getDeadline()) - Date.now();
    const now = clock.now();
    return { ...asked, arrivedAt: now, expiresAt: now + leftMs, signal };
  }

  #answerUnary<Response>(
    call: ServerCall,
    reply: sendUnaryData<Response>,
    work: (signal: AbortSignal, permit: Permit, record: ImageRecord) => Promise<Response>,
  ): void {
    const context = contextOf(call.metadata);
    const permit = takePermit(context);
    const record = newImageRecord(this.#options.clock.now());
    context.observed.imageReceived(record);
    const leaving = new AbortController();
    // Fires after every call, also an answered one.
    call.on('cancelled', () => this.#cuts.has(cut) && leaving.abort(leavingError(call)));
    const cut = () => {
      this.#cuts.delete(cut);
      const error = new RequestError(
        'DRAINING',
        'the server stopped before the image was answered: call another one',
      );
      leaving.abort(error);
      reply(toCallStatus(error));
    };
    this.#cuts.add(cut);
    work(leaving.signal, permit, record)
      .then(
        (response) => this.#cuts.has(cut) && reply(null, response),
        (thrown: unknown) => this.#cuts.has(cut) && this.#fail(call, reply, thrown),
      )
      .finally(() => {
        this.#cuts.delete(cut);
        permit.release();
      });
  }

  #reply<Response>(call: ServerCall, reply: sendUnaryData<Response>, work: () => Response): void {
    try {
      reply(null, work());
    } catch (thrown) {
      this.#fail(call, reply, thrown);
    }
  }

  #fail<Response>(call: ServerCall, reply: sendUnaryData<Response>, thrown: unknown): void {
    const error = toRequestError(thrown);
    const status = toCallStatus(error);
    if (status.code === grpcStatus.INTERNAL)
      contextOf(call.metadata).observed.failed(error.cause ?? error);
    reply(status);
  }
}
