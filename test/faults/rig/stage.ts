/**
 * What the actors of one run share: the server's address, pictures whose right answers are known,
 * the ledger.
 */
import assert from 'node:assert/strict';
import type { ClassifyResponse, EmbedResponse } from '../../support/grpc-client.js';
import { failureOf, PlainClient } from '../../support/grpc-client.js';
import {
  corruptPng,
  exactPng,
  GIF,
  garbage,
  jpeg,
  SVG,
  TEXT,
  truncated,
  webp,
} from '../../support/images.js';
import type { Scope } from '../../support/server.js';
import { type Ledger, rejectionText } from './ledger.js';

/**
 * A file, and its expected outcome as text: the whole answer for `top_k` of all classes, the
 * embedding, or the rejection.
 */
export interface Picture {
  readonly image: Buffer;
  readonly classified: string;
  readonly embedded: string;
}

export interface Pictures {
  readonly good: readonly Picture[];
  /** Files that are rejected as the caller's fault. */
  readonly bad: readonly Picture[];
}

export interface Stage {
  /** Everything that actors open closes with it. */
  readonly scope: Scope;
  readonly address: string;
  readonly pictures: Pictures;
  readonly ledger: Ledger;
  /** Aborted when no more requests are to be sent. */
  readonly signal: AbortSignal;
}

/**
 * Begins, and resolves when it has no more to send; its requests in flight are then still in the
 * ledger.
 */
export type Actor = (stage: Stage) => Promise<void>;

/** All classes, so that every score is compared. */
export const TOP_K = 1_000;

/**
 * Everything that depends on the image; scores are float32 in 64 bits, so their decimal text has
 * every bit.
 */
export function classifiedText({ predictions }: Pick<ClassifyResponse, 'predictions'>): string {
  return JSON.stringify(predictions.map(({ classIndex, score }) => [classIndex, score]));
}

export function embeddedText({ embedding }: Pick<EmbedResponse, 'embedding'>): string {
  return JSON.stringify(embedding);
}

/** A plain client: it sends again only calls that a closing server had not begun. */
export function openClient({ scope, address }: Pick<Stage, 'scope' | 'address'>): PlainClient {
  return new PlainClient(scope, address, { 'grpc.enable_retries': 1 });
}

export async function drawGood(count = 12): Promise<Buffer[]> {
  return await Promise.all(
    Array.from({ length: count }, async (_, seed) => {
      if (seed % 4 === 3) return await webp(seed);
      if (seed % 4 === 2) return (await exactPng(seed)).file;
      return await jpeg(seed, 240 + 40 * seed, 200 + 30 * seed);
    }),
  );
}

export async function drawBad(): Promise<Buffer[]> {
  const [photo, { file: png }] = [await jpeg(1), await exactPng(2)];
  return [
    Buffer.alloc(0),
    TEXT,
    GIF,
    SVG,
    truncated(photo, 0.4),
    truncated(png, 0.7),
    corruptPng(png),
    garbage(3, 'jpeg'),
    garbage(4, 'png'),
  ];
}

/**
 * Classifies each picture alone, before any fault. Throws if two good ones have the same answer.
 */
export async function knowPictures(
  client: PlainClient,
  good: readonly Buffer[],
  bad: readonly Buffer[],
): Promise<Pictures> {
  const known: { good: Picture[]; bad: Picture[] } = { good: [], bad: [] };
  for (const image of good) {
    const classified = classifiedText(await client.classify({ image, topK: TOP_K }));
    known.good.push({ image, classified, embedded: embeddedText(await client.embed({ image })) });
  }
  for (const image of bad) {
    const rejection = rejectionText(await failureOf(client.classify({ image, topK: TOP_K })));
    assert.match(rejection, /^INVALID_ARGUMENT /);
    known.bad.push({ image, classified: rejection, embedded: rejection });
  }
  const answers = (text: 'classified' | 'embedded') =>
    new Set(known.good.map((picture) => picture[text])).size;
  assert.equal(answers('embedded'), good.length, 'embeddings that are all different');
  // Simulated inference knows only ten answers.
  assert(answers('classified') > good.length / 3, 'answers that are different');
  return known;
}

/** Resolves after so long, or with the signal. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
  });
}
