import { RequestError } from '../../errors.js';

/** So many on a page where the caller leaves it open, and at most. */
const PAGE_SIZE = 100;

/**
 * One page of a list that is ordered by name. A token is the name after which the page begins, so
 * pages stay right while entries come and go. Throws RequestError PAGE_INVALID.
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
    throw new RequestError('PAGE_INVALID', 'page_token is none that this server gave out');
  }
  const rest = entries.filter(({ name }) => name > after);
  const page = rest.slice(0, Math.min(pageSize === 0 ? PAGE_SIZE : pageSize, PAGE_SIZE));
  const last = page.at(-1);
  const isLast = last === undefined || page.length === rest.length;
  return { page, nextPageToken: isLast ? '' : Buffer.from(last.name).toString('base64url') };
}
