/** GetModel and ListModels: what callers may know of the served models. */
import type { ListModelsRequest__Output } from '../../contract/generated/vitserve/v1/ListModelsRequest.js';
import type { ListModelsResponse } from '../../contract/generated/vitserve/v1/ListModelsResponse.js';
import type { Model } from '../../contract/generated/vitserve/v1/Model.js';
import { RequestError } from '../../errors.js';
import type { Engine } from '../engine.js';
import { toModel } from './messages.js';

/** Models on a page, by default and at most. */
const PAGE_SIZE = 100;

/** Throws RequestError MODEL_UNKNOWN. */
export function getModel(
  engine: Pick<Engine, 'resolve'>,
  { model }: { readonly model: string },
): Model {
  return toModel(engine.resolve(model).info);
}

/** Throws RequestError PAGE_INVALID. */
export function listModels(
  engine: Pick<Engine, 'list'>,
  { pageSize, pageToken }: ListModelsRequest__Output,
): ListModelsResponse {
  const models = engine.list().map(({ info }) => info);
  const { page, nextPageToken } = pageOf(models, pageSize, pageToken);
  return { models: page.map(toModel), nextPageToken };
}

/**
 * One page of a list ordered by name. A token is the name after which the page begins, so pages
 * stay right while models come and go. Throws RequestError PAGE_INVALID.
 */
export function pageOf<Entry extends { readonly name: string }>(
  entries: readonly Entry[],
  pageSize: number,
  pageToken: string,
): { readonly page: readonly Entry[]; readonly nextPageToken: string } {
  if (pageSize < 0) {
    throw new RequestError('PAGE_INVALID', 'page_size is negative: send 0 or more', {
      field: 'page_size',
    });
  }
  const after = Buffer.from(pageToken, 'base64url').toString();
  if (Buffer.from(after).toString('base64url') !== pageToken) {
    const text = 'page_token was not issued by this server: send none for the first page';
    throw new RequestError('PAGE_INVALID', text);
  }
  const rest = entries.filter(({ name }) => name > after);
  const page = rest.slice(0, Math.min(pageSize === 0 ? PAGE_SIZE : pageSize, PAGE_SIZE));
  const last = page.at(-1);
  const isLast = last === undefined || page.length === rest.length;
  return { page, nextPageToken: isLast ? '' : Buffer.from(last.name).toString('base64url') };
}
