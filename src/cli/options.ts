/**
 * The option tables: the only source of flags, `VITSERVE_…` variables, config-file keys, `--help`
 * and `docs/reference/options.md`.
 *
 * To add an option, add its setting to `settings.ts` and its row here; then run `npm run generate`.
 * Within their group, rows are in the order of help and documentation.
 */

import { fileURLToPath } from 'node:url';
import type { OptionTable } from './option.js';
import type { ClassifySettings, ServeSettings } from './settings.js';
import {
  address,
  autoOr,
  boolean,
  bytes,
  choice,
  duration,
  executionProvider,
  integer,
  path,
  string,
} from './value-types.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/**
 * The models that come with the package, wherever it is installed and whatever the working
 * directory is.
 */
const PACKAGE_MODELS = fileURLToPath(new URL('../../models', import.meta.url));

export const SERVE_OPTIONS: OptionTable<ServeSettings> = {
  config: {
    name: 'config',
    group: 'Serving',
    type: path(),
    default: null,
    summary: 'JSON file with settings. Flags and environment variables override it.',
  },
  address: {
    name: 'address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Address for gRPC. Port 0 picks a free port.',
  },
  httpAddress: {
    name: 'http-address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 8080 },
    summary: 'Address for HTTP: /metrics, /livez and /readyz. Port 0 picks a free port.',
  },
  reflection: {
    name: 'reflection',
    group: 'Serving',
    type: boolean(),
    default: true,
    summary: 'Let tools such as grpcurl ask for the services and messages.',
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Security',
    type: path(),
    default: null,
    summary: "PEM file with the server's certificate and its intermediates. Turns TLS on.",
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert, without a passphrase.',
  },
  tlsClientCa: {
    name: 'tls-client-ca',
    group: 'Security',
    type: path(),
    default: null,
    summary: "PEM file with the authorities that sign callers' certificates (mutual TLS).",
  },
  tokenFile: {
    name: 'token-file',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'File with bearer tokens, one per line. Callers must send one of them.',
  },
  healthAddress: {
    name: 'health-address',
    group: 'Security',
    type: address(0),
    default: null,
    summary: 'Address for gRPC health alone, without TLS or tokens. Port 0 picks a free port.',
  },
  modelRepository: {
    name: 'model-repository',
    group: 'Model',
    type: path(),
    default: PACKAGE_MODELS,
    defaultText: "the package's own models folder",
    summary: 'Folder with the models: NAME/VERSION/model.onnx beside model.json.',
  },
  defaultModel: {
    name: 'default-model',
    group: 'Model',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: 'the only one in the repository',
    summary: 'Model for requests that name none.',
  },
  allowRandomWeights: {
    name: 'allow-random-weights',
    group: 'Model',
    type: boolean(),
    default: false,
    summary: 'Serve models with random weights, which vitserve convert --random makes.',
  },
  modelsPollIntervalMs: {
    name: 'models-poll-interval',
    group: 'Model',
    type: duration(0),
    default: 0,
    summary: 'How often to look for new model versions. 0s: only on SIGHUP.',
  },
  executionProvider: {
    name: 'execution-provider',
    group: 'Model',
    type: executionProvider(),
    default: { kind: 'auto' },
    summary: 'What runs the models. auto: CUDA if it works, else CPU. simulated: made-up answers.',
  },
  inferenceProcesses: {
    name: 'inference-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary:
      'Inference processes, for all models together. auto: one per core on CPU, else one per ' +
      'model.',
  },
  inferenceThreads: {
    name: 'inference-threads',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'CPU threads per inference process. auto: 1.',
  },
  decoderProcesses: {
    name: 'decoder-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'Decoder processes. auto: one per core.',
  },
  jpegDecoder: {
    name: 'jpeg-decoder',
    group: 'Processes',
    type: choice('auto', 'sharp'),
    default: 'auto',
    summary: 'Decoder for ordinary JPEG files. auto: libturbojpeg if it loads, otherwise sharp.',
  },
  sharedMemoryDir: {
    name: 'shared-memory-dir',
    group: 'Processes',
    type: path(),
    default: '/dev/shm',
    summary: 'Folder for pixels, on tmpfs. Each permit takes height × width × 3 bytes of it.',
  },
  maxBatchSize: {
    name: 'max-batch-size',
    group: 'Limits',
    type: autoOr(integer(1, 1024)),
    default: 'auto',
    summary: 'Largest batch. auto: 4 on CPU, 32 on CUDA, the last size when simulated.',
  },
  permits: {
    name: 'permits',
    group: 'Limits',
    type: autoOr(integer(1, 65_536)),
    default: 'auto',
    summary: 'Most images in progress; more are rejected. auto: four seconds of work, at least 64.',
  },
  uploadTimeoutMs: {
    name: 'upload-timeout',
    group: 'Limits',
    type: duration(),
    default: 10_000,
    summary: 'Longest time to receive one image, or one message of a stream.',
  },
  maxConnections: {
    name: 'max-connections',
    group: 'Limits',
    type: integer(1, 1_000_000),
    default: 1024,
    summary: 'Most connections to the gRPC port. The server closes further ones at once.',
  },
  maxConnectionAgeMs: {
    name: 'max-connection-age',
    group: 'Limits',
    type: duration(0),
    default: 3_600_000,
    summary: 'Age at which a connection is asked to close, plus or minus 10 %. 0s: never.',
  },
  maxImageBytes: {
    name: 'max-image-bytes',
    group: 'Limits',
    type: bytes(1024, GIB),
    default: 16 * MIB,
    summary: 'Largest image file, in bytes.',
  },
  maxImagePixels: {
    name: 'max-image-pixels',
    group: 'Limits',
    type: integer(1, 1_000_000_000),
    default: 50_000_000,
    summary: 'Largest image, in pixels: width times height.',
  },
  startTimeoutMs: {
    name: 'start-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary: 'Longest time for a process to start, including loading and warming up its model.',
  },
  inferenceTimeoutMs: {
    name: 'inference-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary: 'Longest time for one execution. Then the server replaces the inference process.',
  },
  drainDelayMs: {
    name: 'drain-delay',
    group: 'Lifecycle',
    type: duration(0),
    default: 0,
    summary: 'How long to keep serving after SIGTERM while health says NOT_SERVING.',
  },
  drainTimeoutMs: {
    name: 'drain-timeout',
    group: 'Lifecycle',
    type: duration(0),
    default: 30_000,
    summary: 'How long admitted calls may take to finish at stop. The rest is cancelled.',
  },
  logLevel: {
    name: 'log-level',
    group: 'Logging',
    type: choice('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    default: 'info',
    summary: 'Least severe level to log.',
  },
  logFormat: {
    name: 'log-format',
    group: 'Logging',
    type: choice('auto', 'json', 'pretty'),
    default: 'auto',
    summary: 'Format of the log. auto: pretty on a terminal, otherwise one JSON object per line.',
  },
  logSample: {
    name: 'log-sample',
    group: 'Logging',
    type: integer(0, 1_000_000),
    default: 0,
    summary: 'Log every Nth answered call: 1 logs all, 100 every hundredth, 0 none.',
  },
};

export const CLASSIFY_OPTIONS: OptionTable<ClassifySettings> = {
  address: {
    name: 'address',
    group: 'Request',
    type: address(1),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Address of the server.',
  },
  tlsCa: {
    name: 'tls-ca',
    group: 'Request',
    type: path(),
    default: null,
    summary:
      "Authorities to trust for the server, a PEM file such as the system's own. Turns TLS on.",
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Request',
    type: path(),
    default: null,
    summary: "PEM file with the client's certificate.",
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert.',
  },
  tokenFile: {
    name: 'token-file',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'File with the bearer token to send: its first line that is not a comment.',
  },
  model: {
    name: 'model',
    group: 'Request',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: "the server's default model",
    summary: 'Name of the model.',
  },
  topK: {
    name: 'top-k',
    group: 'Request',
    type: integer(0, 2_147_483_647),
    default: 5,
    summary: "How many labels to ask for, best first. 0: the server's choice, which is 5.",
  },
  timeoutMs: {
    name: 'timeout',
    group: 'Request',
    type: duration(),
    default: 30_000,
    summary: 'Deadline of each call.',
  },
  concurrency: {
    name: 'concurrency',
    group: 'Request',
    type: integer(1, 256),
    default: 8,
    summary: 'How many images to send at the same time.',
  },
  json: {
    name: 'json',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print one JSON object per line.',
  },
};
