// What the Grafana dashboard shows, one row for each stage of a call.
// test/contract/dashboard.test.ts sees to it that every metric is on it. A panel is [kind, title,
// unit, description, ...[legend, expression]].

const ON = 'job=~"$job", instance=~"$instance"';
const WINDOW = '[$__rate_interval]';

/** A selector for the chosen instances. */
const of = (name, labels = '') => `${name}{${labels === '' ? ON : `${ON}, ${labels}`}}`;
const rate = (name, labels) => `rate(${of(name, labels)}${WINDOW})`;
const sum = (expression, ...by) =>
  by.length === 0 ? `sum(${expression})` : `sum by (${by.join(', ')}) (${expression})`;
const quantile = (q, name, labels, ...by) =>
  `histogram_quantile(${q}, ${sum(rate(`${name}_bucket`, labels), 'le', ...by)})`;
const quantiles = (name, labels) =>
  [0.5, 0.9, 0.99].map((q) => [`p${q * 100}`, quantile(q, name, labels)]);
const mean = (name, ...by) =>
  `${sum(rate(`${name}_sum`), ...by)} / ${sum(rate(`${name}_count`), ...by)}`;

const IMAGE_CALLS = 'method=~"Classify|Embed"';
const FAILED = `${IMAGE_CALLS}, reason=~"OVERLOADED|DEADLINE_UNREACHABLE|DEADLINE_EXCEEDED|PROCESS_LOST|INTERNAL"`;

export const ROWS = [
  [
    'Overview',
    [
      [
        'stat',
        'Instances that serve',
        'none',
        'In the state serving, of all that are known.',
        ['serving', sum(of('vitserve_state', 'state="serving"'))],
      ],
      [
        'stat',
        'Calls answered',
        'percentunit',
        'The share of unary image calls of the last hour that did not fail through the server: the figure of the objective.',
        [
          'answered',
          `1 - (${sum(`rate(${of('vitserve_requests_total', FAILED)}[1h])`)} or vector(0)) / ${sum(`rate(${of('vitserve_requests_total', IMAGE_CALLS)}[1h])`)}`,
        ],
      ],
      [
        'stat',
        'Calls a second',
        'reqps',
        'All methods.',
        ['calls', sum(rate('vitserve_requests_total'))],
      ],
      [
        'stat',
        'p99 of Classify',
        's',
        'From the headers to the status.',
        ['p99', quantile(0.99, 'vitserve_request_duration_seconds', 'method="Classify"')],
      ],
      [
        'stat',
        'Permits in use',
        'percentunit',
        'The fullest instance: what to scale on.',
        ['in use', `max(${of('vitserve_permits_in_use')} / ${of('vitserve_permits_limit')})`],
      ],
      [
        'stat',
        'Processes lost',
        'none',
        'Children that ended unasked, in the chosen time.',
        ['lost', `round(sum(increase(${of('vitserve_process_losses_total')}[$__range])))`],
      ],
      [
        'line',
        'Calls by method',
        'reqps',
        'Streams count when they end.',
        ['{{method}}', sum(rate('vitserve_requests_total'), 'method')],
      ],
      [
        'line',
        'Calls that failed',
        'reqps',
        'By code and reason (docs/reference/errors.md).',
        [
          '{{code}} {{reason}}',
          sum(rate('vitserve_requests_total', 'code!="OK"'), 'code', 'reason'),
        ],
      ],
      [
        'line',
        'Duration of Classify',
        's',
        'From the headers to the status.',
        ...quantiles('vitserve_request_duration_seconds', 'method="Classify"'),
      ],
      [
        'line',
        'State',
        'none',
        'How many instances are in which state.',
        ['{{state}}', sum(of('vitserve_state'), 'state')],
      ],
    ],
  ],
  [
    'Admission',
    [
      [
        'line',
        'Permits',
        'none',
        'Images that are being worked on, and how many may be.',
        ['in use {{instance}}', of('vitserve_permits_in_use')],
        ['limit {{instance}}', of('vitserve_permits_limit')],
      ],
      [
        'line',
        'Uploads in flight',
        'none',
        'Unary calls whose image has not arrived in full.',
        ['{{instance}}', of('vitserve_uploads_in_flight')],
      ],
      [
        'line',
        'Refused',
        'reqps',
        'Calls that were not let in, or not in time.',
        [
          '{{reason}}',
          sum(
            rate(
              'vitserve_requests_total',
              'reason=~"OVERLOADED|DEADLINE_UNREACHABLE|STARTING|DRAINING|TOKEN_INVALID|UPLOAD_TIMEOUT"',
            ),
            'reason',
          ),
        ],
      ],
      [
        'line',
        'Rejections held back',
        'none',
        'Because callers call again at once: now, and how many a second.',
        ['now {{instance}}', of('vitserve_held_rejections')],
        ['a second', sum(rate('vitserve_held_rejections_total'))],
      ],
      [
        'line',
        'Connections',
        'none',
        'Open connections to the gRPC port.',
        ['{{instance}}', of('vitserve_connections_in_use')],
      ],
      [
        'line',
        'Connections refused',
        'cps',
        'Ended before they could carry a call, by cause.',
        ['{{cause}}', sum(rate('vitserve_connections_refused_total'), 'cause')],
      ],
    ],
  ],
  [
    'Decode',
    [
      [
        'line',
        'Images decoded',
        'ops',
        'By format and what decoded them.',
        [
          '{{format}} {{decoder}}',
          sum(rate('vitserve_decode_duration_seconds_count'), 'format', 'decoder'),
        ],
      ],
      [
        'line',
        'Duration of decoding',
        's',
        'Decoding, resizing and cropping one image, as the decoder process measures it.',
        ...quantiles('vitserve_decode_duration_seconds'),
      ],
      [
        'line',
        'Waiting for a decoder',
        'none',
        'Images.',
        ['{{instance}}', of('vitserve_queue_length', 'stage="decode"')],
      ],
      [
        'line',
        'Dropped before decoding',
        'ops',
        'Not worked on: the caller had left, or the deadline had passed or was out of reach.',
        ['{{cause}}', sum(rate('vitserve_dropped_images_total', 'stage="decode"'), 'cause')],
      ],
    ],
  ],
  [
    'Queue and batch',
    [
      [
        'line',
        'Time in queues',
        's',
        'All waiting of an answered image.',
        ...quantiles('vitserve_queue_duration_seconds'),
      ],
      [
        'line',
        'Waiting for a batch',
        'none',
        'Images, by model.',
        ['{{model}} {{instance}}', of('vitserve_queue_length', 'stage="batch"')],
      ],
      [
        'line',
        'Images in a batch',
        'none',
        'The mean, by model.',
        ['{{model}}', mean('vitserve_batch_size', 'model')],
      ],
      [
        'line',
        'What a batch costs',
        's',
        'By size: the figures that deadlines are checked against.',
        [
          '{{model}}/{{version}} of {{batch_size}}',
          `avg by (model, version, batch_size) (${of('vitserve_batch_cost_seconds')})`,
        ],
      ],
      [
        'line',
        'Dropped before execution',
        'ops',
        'Not worked on: the caller had left, or the deadline had passed or was out of reach.',
        ['{{cause}}', sum(rate('vitserve_dropped_images_total', 'stage="batch"'), 'cause')],
      ],
      [
        'line',
        'Time left to the deadline',
        's',
        'When an image that had one was answered. The 1st percentile shows how close it gets.',
        ['p1', quantile(0.01, 'vitserve_deadline_slack_seconds')],
        ['p50', quantile(0.5, 'vitserve_deadline_slack_seconds')],
      ],
    ],
  ],
  [
    'Inference',
    [
      [
        'line',
        'Executions',
        'ops',
        'Batches a second, by model.',
        ['{{model}}', sum(rate('vitserve_inference_duration_seconds_count'), 'model')],
      ],
      [
        'line',
        'Images executed',
        'ops',
        'By model.',
        ['{{model}}', sum(rate('vitserve_batch_size_sum'), 'model')],
      ],
      [
        'line',
        'Duration of an execution',
        's',
        'By model, as the inference process measures it.',
        ['p50 {{model}}', quantile(0.5, 'vitserve_inference_duration_seconds', '', 'model')],
        ['p99 {{model}}', quantile(0.99, 'vitserve_inference_duration_seconds', '', 'model')],
      ],
    ],
  ],
  [
    'Reply',
    [
      [
        'line',
        'p99 by method',
        's',
        'A stream counts once, with its whole length.',
        ['{{method}}', quantile(0.99, 'vitserve_request_duration_seconds', '', 'method')],
      ],
      [
        'line',
        'Images of streams',
        'ops',
        'Answered, by code and reason.',
        ['{{code}} {{reason}}', sum(rate('vitserve_stream_images_total'), 'code', 'reason')],
      ],
      [
        'line',
        'Spans of traces',
        'ops',
        'Sent, or lost.',
        ['{{result}}', sum(rate('vitserve_trace_spans_total'), 'result')],
      ],
    ],
  ],
  [
    'Processes',
    [
      [
        'line',
        'Ready',
        'none',
        'Processes that take calls, by role.',
        ['{{role}} {{instance}}', sum(of('vitserve_process_ready'), 'role', 'instance')],
      ],
      [
        'line',
        'Lost',
        'ops',
        'By role and cause. All are replaced.',
        ['{{role}} {{cause}}', sum(rate('vitserve_process_losses_total'), 'role', 'cause')],
      ],
      [
        'line',
        'Images done again',
        'ops',
        'Because their process was lost, by stage.',
        ['{{stage}}', sum(rate('vitserve_retries_total'), 'stage')],
        ['quarantined, {{stage}}', sum(rate('vitserve_quarantined_images_total'), 'stage')],
      ],
    ],
  ],
  [
    'Memory and CPU',
    [
      [
        'line',
        'CPU',
        'none',
        'Cores in use: the front, and its children by role.',
        ['front', sum(rate('process_cpu_seconds_total'))],
        ['{{role}}', sum(rate('vitserve_process_cpu_seconds'), 'role')],
      ],
      [
        'line',
        'Resident memory',
        'bytes',
        'The front, and its children by role.',
        ['front', sum(of('process_resident_memory_bytes'))],
        ['{{role}}', sum(of('vitserve_process_resident_memory_bytes'), 'role')],
      ],
      [
        'line',
        'Slots',
        'bytes',
        'Shared memory reserved for pixels.',
        ['{{instance}}', of('vitserve_slot_bytes')],
      ],
      [
        'line',
        'Lag of the event loop',
        's',
        'Of the front; 10 ms are those of the measurement itself.',
        ['p99 {{instance}}', of('nodejs_eventloop_lag_p99_seconds')],
      ],
      [
        'line',
        'Log lines dropped',
        'ops',
        'By why the log could not be written.',
        ['{{cause}}', sum(rate('vitserve_log_lines_dropped_total'), 'cause')],
      ],
    ],
  ],
  [
    'Models and credentials',
    [
      [
        'table',
        'Models',
        'none',
        'What callers get, and what really runs it.',
        ['', `count by (model, version, execution_provider) (${of('vitserve_model_info')})`],
      ],
      [
        'line',
        'On the CPU for want of CUDA',
        'none',
        'Instances where execution-provider auto did not get CUDA, by model.',
        ['{{model}}', sum(of('vitserve_execution_provider_fallback'), 'model')],
      ],
      [
        'line',
        'Versions not loaded',
        'none',
        'While serving, by model; empty for the repository.',
        ['{{model}}', sum(of('vitserve_model_failures_total'), 'model')],
      ],
      [
        'line',
        'Certificates end in',
        's',
        'By file. Empty without TLS.',
        [
          '{{certificate}} {{instance}}',
          `${of('vitserve_tls_certificate_expiry_timestamp_seconds')} - time()`,
        ],
      ],
      [
        'line',
        'Looks at credentials',
        'none',
        'That found new content, in the chosen time: loaded, or kept because the new can’t be used.',
        [
          '{{kind}} {{result}}',
          sum(`increase(${of('vitserve_credential_reloads_total')}[$__range])`, 'kind', 'result'),
        ],
      ],
    ],
  ],
];
