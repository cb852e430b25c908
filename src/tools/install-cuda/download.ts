/**
 * One file of a project from a package index as pip uses them: the page of the project (PEP 691 or
 * 503), then the file.
 */
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { messageOf, SetupError } from '../../errors.js';

const ACCEPT =
  'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1';

export interface Download {
  /** Base address of the index. */
  readonly index: string;
  readonly project: string;
  readonly file: string;
  readonly target: string;
}

/**
 * @param progress gets the bytes so far and, if the server says, in total. Rejects with SetupError.
 */
export async function downloadFromIndex(
  { index, project, file, target }: Download,
  progress: (done: number, total: number | null) => void,
): Promise<void> {
  try {
    const page = new URL(`${index.replace(/\/+$/, '')}/${project}/`);
    const listing = await get(page, ACCEPT);
    const link = linkIn(await listing.text(), file);
    if (link === null) throw new Error(`it has no ${file}`);
    const response = await get(new URL(link, listing.url), '*/*');
    const length = Number(response.headers.get('content-length'));
    let done = 0;
    const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        done += chunk.length;
        progress(done, length > 0 ? length : null);
        yield chunk;
      }
    };
    if (response.body === null) throw new Error('it sent nothing');
    await pipeline(response.body, counted, createWriteStream(target));
  } catch (error) {
    const cause =
      error instanceof Error && error.cause !== undefined ? ` (${messageOf(error.cause)})` : '';
    throw new SetupError('environment', [
      `can't download ${file} from ${index} (${messageOf(error)}${cause}): give a mirror with --index, or download the file elsewhere and give it with --from`,
    ]);
  }
}

async function get(url: URL, accept: string): Promise<Response> {
  const response = await fetch(url, { headers: { accept } });
  if (!response.ok) throw new Error(`${url.href} answered ${response.status}`);
  return response;
}

/** The address of a file on the page of its project, in JSON or HTML; null if the page has none. */
export function linkIn(page: string, file: string): string | null {
  if (page.trimStart().startsWith('{')) {
    const { files } = JSON.parse(page) as {
      files?: readonly { readonly filename?: unknown; readonly url?: unknown }[];
    };
    const url = files?.find(({ filename }) => filename === file)?.url;
    return typeof url === 'string' ? url : null;
  }
  const links = [...page.matchAll(/<a\s[^>]*?href\s*=\s*["']([^"']+)["']/gi)].map(([, link = '']) =>
    link.replaceAll('&amp;', '&'),
  );
  return (
    links.find(
      (link) =>
        decodeURIComponent(
          link
            .replace(/[?#].*$/, '')
            .split('/')
            .at(-1) ?? '',
        ) === file,
    ) ?? null
  );
}
