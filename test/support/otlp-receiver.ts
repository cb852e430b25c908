/**
 * A receiver of traces: OTLP over HTTP, which reads the protobuf by a schema of its own, with the
 * fields that the tests look at. https://opentelemetry.io/docs/specs/otlp/
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import protobuf from 'protobufjs';
import type { Scope } from './scope.js';

const REQUEST = protobuf
  .parse(`
  syntax = "proto3";
  message Request { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5;
    int32 kind = 6; fixed64 start = 7; fixed64 end = 8; repeated KeyValue attributes = 9; Status status = 15;
  }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
  message Status { string message = 2; int32 code = 3; }
`)
  .root.lookupType('Request');

type Attributes = Readonly<Record<string, unknown>>;

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  /** 2: a server's. */
  readonly kind: number;
  /** Nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Attributes;
  /** 2: an error. */
  readonly status: number;
  readonly resource: Attributes;
}

interface WireAttributes {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface WireRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly WireAttributes[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly (Readonly<Record<string, string>> & {
        readonly kind: number;
        readonly attributes?: readonly WireAttributes[];
        readonly status?: { readonly code?: number };
      })[];
    }[];
  }[];
}

export interface OtlpReceiver {
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  /** Requests, read or not. */
  readonly requests: number;
}

/** `answer`: how to answer instead of reading the request. */
export async function startOtlpReceiver(
  scope: Scope,
  answer: ((response: ServerResponse) => void) | null = null,
): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const state = { requests: 0 };
  const server = createServer(async (request, response) => {
    state.requests++;
    const body = Buffer.concat(await request.toArray());
    if (answer !== null) return answer(response);
    if (
      request.url === '/v1/traces' &&
      request.headers['content-type'] === 'application/x-protobuf'
    ) {
      spans.push(...spansOf(body));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    } else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    spans,
    get requests() {
      return state.requests;
    },
  };
}

function spansOf(body: Buffer): ReceivedSpan[] {
  const options = { longs: String, bytes: String, arrays: true, defaults: true };
  const { resourceSpans } = REQUEST.toObject(REQUEST.decode(body), options) as WireRequest;
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans
      .flatMap(({ spans }) => spans)
      .map((span) => ({
        traceId: hex(span.traceId),
        spanId: hex(span.spanId),
        parentSpanId: hex(span.parentSpanId),
        traceState: span.traceState ?? '',
        name: span.name ?? '',
        kind: span.kind,
        start: BigInt(span.start ?? 0),
        end: BigInt(span.end ?? 0),
        attributes: attributesOf(span.attributes),
        status: span.status?.code ?? 0,
        resource: attributesOf(resource.attributes),
      })),
  );
}

function hex(base64 = ''): string {
  return Buffer.from(base64, 'base64').toString('hex');
}

function attributesOf(attributes: readonly WireAttributes[] = []): Attributes {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      'intValue' in value ? Number(value.intValue) : Object.values(value)[0],
    ]),
  );
}
