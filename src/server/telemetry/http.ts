/**
 * The HTTP port: `/metrics` for Prometheus, `/livez` and `/readyz` for probes.
 *
 * `/livez` says only that this event loop runs: the replacement of a process must not kill the pod.
 * `/readyz` says whether the default model can answer now, as gRPC health does.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { SetupError } from '../../errors.js';
import { listenProblem } from '../../system/system-errors.js';

const REQUEST_TIMEOUT_MS = 10_000;
const MOST_CONNECTIONS = 256;

export interface HttpServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function listenHttp(options: {
  readonly host: string;
  readonly port: number;
  /** All metrics in the text format of Prometheus, and its media type. */
  readonly metrics: () => Promise<string>;
  readonly contentType: string;
  /** `text` is the body of the response. */
  readonly readiness: () => { readonly ready: boolean; readonly text: string };
}): Promise<HttpServer> {
  const { host, port, metrics, contentType, readiness } = options;

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return send(response, 405, 'only GET is answered here\n');
    }
    switch (request.url?.split('?')[0]) {
      case '/livez':
        return send(response, 200, 'alive\n');
      case '/readyz': {
        const { ready, text } = readiness();
        return send(response, ready ? 200 : 503, `${text}\n`);
      }
      case '/metrics':
        return send(response, 200, await metrics(), contentType);
      default:
        return send(response, 404, 'not found: there are /metrics, /livez and /readyz\n');
    }
  };

  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: 2_000,
    },
    (request, response) => {
      answer(request, response).catch(() => send(response, 500, 'internal error\n'));
    },
  );
  // Probes and Prometheus need a few connections.
  server.maxConnections = MOST_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(new SetupError('environment', [listenProblem('http-address', { host, port }, error)]));
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}
