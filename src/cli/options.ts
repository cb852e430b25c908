/**
 * The option tables: the only source of flags, `VITSERVE_…` variables, config-file keys, `--help`
 * and `docs/reference/options.md`.
 *
 * To add an option, add its setting to `settings.ts` and its row here; then run `npm run generate`.
 * Within their group, rows are in the order of help and documentation. A reason says what the
 * option is for, why this default, and when to change it: an option without a reason would not be
 * set by anyone.
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
    reason:
      'For settings that are reviewed and rolled out as a file, such as a mounted ConfigMap. The ' +
      'file is read once, at start.',
  },
  address: {
    name: 'address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Address for gRPC. Port 0 picks a free port.',
    reason:
      'By default only this machine can reach the server, because it asks callers for no ' +
      'credentials; opening it to a network is your decision ([security.md](../operate/security.md)). In a ' +
      'container use `0.0.0.0:50051`, or `[::]:50051` for IPv4 and IPv6. gRPC examples and tools ' +
      'assume port 50051.',
  },
  httpAddress: {
    name: 'http-address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 8080 },
    summary: 'Address for HTTP: /metrics, /livez and /readyz. Port 0 picks a free port.',
    reason:
      'Metrics and probes have a port of their own, so that callers need no access to it. ' +
      'Prometheus and the kubelet do: use `0.0.0.0:8080` in a container.',
  },
  reflection: {
    name: 'reflection',
    group: 'Serving',
    type: boolean(),
    default: true,
    summary: 'Let tools such as grpcurl ask for the services and messages.',
    reason:
      'On by default, because newcomers can then call the server without the `.proto` file. ' +
      'Reflection shows nothing else. Turn it off where the interface itself is not public.',
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Security',
    type: path(),
    default: null,
    summary: "PEM file with the server's certificate and its intermediates. Turns TLS on.",
    reason:
      'With a certificate the gRPC port speaks TLS only. The server looks at this file and the ' +
      'two below every ten seconds, and at once on SIGHUP: new connections use the new ' +
      'certificate, open ones keep theirs. If the new file is unusable, the server logs and ' +
      'counts it, and keeps the old certificate. See [security.md](../operate/security.md#tls).',
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert.',
    reason: 'Needed with `tls-cert`. The server rejects a key with a passphrase.',
  },
  tlsClientCa: {
    name: 'tls-client-ca',
    group: 'Security',
    type: path(),
    default: null,
    summary: "PEM file with the authorities that sign callers' certificates (mutual TLS).",
    reason:
      "A client without a certificate of one of these authorities can't connect. The authorities " +
      'of the system are never trusted for this: they sign for everybody who owns a domain. A ' +
      'file without a certificate is an error.',
  },
  tokenFile: {
    name: 'token-file',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'File with bearer tokens, one per line. Callers must send one of them.',
    reason:
      'Callers send `authorization: Bearer TOKEN`; the server rejects other calls with ' +
      '`TOKEN_INVALID`, except for health. Lines that start with # are comments. Several tokens ' +
      'are valid at once, so you can replace one without a gap; the server looks at the file ' +
      'every ten seconds. Use tokens with TLS: without it, everybody on the path can read them.',
  },
  healthAddress: {
    name: 'health-address',
    group: 'Security',
    type: address(0),
    default: null,
    summary: 'Address for gRPC health alone, without TLS or tokens. Port 0 picks a free port.',
    reason:
      "The kubelet's gRPC probes speak plaintext and send no certificate, so with `tls-cert` " +
      'they need this port. It only tells whether the server and its models serve; keep it ' +
      'inside the cluster all the same.',
  },
  modelRepository: {
    name: 'model-repository',
    group: 'Model',
    type: path(),
    default: PACKAGE_MODELS,
    defaultText: "the package's own models folder",
    summary: 'Folder with the models: NAME/VERSION/model.onnx beside model.json.',
    reason:
      'The server serves the highest version of each model. The default is the `models` folder ' +
      'of the package, so that a first start works from any directory.',
  },
  defaultModel: {
    name: 'default-model',
    group: 'Model',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: 'the only one in the repository',
    summary: 'Model for requests that name none.',
    reason: 'Needed only if the repository holds several models.',
  },
  allowRandomWeights: {
    name: 'allow-random-weights',
    group: 'Model',
    type: boolean(),
    default: false,
    summary: 'Serve models with random weights, which vitserve convert --random makes.',
    reason:
      'Such a model costs as much as a trained one and its answers mean nothing: use it to size ' +
      'a machine. Its manifest says `"weights": "random"` under `provenance`; without this ' +
      'option the server does not start with it.',
  },
  modelsPollIntervalMs: {
    name: 'models-poll-interval',
    group: 'Model',
    type: duration(0),
    default: 0,
    summary: 'How often to look for new model versions. 0s: only on SIGHUP.',
    reason:
      'The server starts a new version in its own processes and runs drawn images through it. ' +
      'Then the new version takes over; the old one answers the requests it has begun. Off by ' +
      'default, so that nothing changes by surprise; `kill -HUP` reloads at once. The server ' +
      'retries a version that failed to load only after SIGHUP.',
  },
  executionProvider: {
    name: 'execution-provider',
    group: 'Model',
    type: executionProvider(),
    default: { kind: 'auto' },
    summary: 'What runs the models. auto: CUDA if it works, else CPU. simulated: made-up answers.',
    reason:
      '`auto` starts anywhere; the log, a metric and every reply say what it chose. On machines ' +
      'with a GPU ask for `cuda`: the server then does not start without a working GPU, instead ' +
      'of serving a small part of the load from the CPU. `simulated:` runs no model. It waits ' +
      'for the milliseconds given per batch size and answers with made-up scores, so that you ' +
      'can try batching, overload and draining without a GPU. Give times for ascending batch ' +
      'sizes from 1; the last size is the largest batch. Replies say `execution_provider: ' +
      '"simulated"`.',
  },
  inferenceProcesses: {
    name: 'inference-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary:
      'Inference processes, for all models together. auto: one per core on CPU, else one per ' +
      'model.',
    reason:
      'On a CPU, several single-threaded processes do more than one process with many threads ' +
      '(ViT-Ti int8 on two cores: 240 images/s against 131). Models share them equally, and each ' +
      'model has at least one. Each process holds a copy of the model: if memory is short, use ' +
      'fewer processes with more `inference-threads`. Cores are those that the cgroup quota ' +
      'allows.',
  },
  inferenceThreads: {
    name: 'inference-threads',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'CPU threads per inference process. auto: 1.',
    reason:
      'More threads make one inference faster and lower the throughput. Raise it if a large ' +
      'model should answer few callers sooner, and lower `inference-processes` so that processes ' +
      'times threads stays within the cores.',
  },
  decoderProcesses: {
    name: 'decoder-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'Decoder processes. auto: one per core.',
    reason:
      'Images are untrusted, so separate processes decode them: a decoder that crashes or hangs ' +
      'is replaced, and other requests only wait a little longer. An idle decoder costs only ' +
      'memory; lower this if memory is short.',
  },
  jpegDecoder: {
    name: 'jpeg-decoder',
    group: 'Processes',
    type: choice('auto', 'sharp'),
    default: 'auto',
    summary: 'Decoder for ordinary JPEG files. auto: libturbojpeg if it loads, otherwise sharp.',
    reason:
      "A photo takes less than half of sharp's CPU time with libturbojpeg, and the pixels are the " +
      'same. It is available on Linux (x64 and arm64). sharp decodes PNG, WebP and unusual JPEG ' +
      'files in any case. `sharp` turns libturbojpeg off, for example while a known flaw in it is ' +
      'not fixed.',
  },
  sharedMemoryDir: {
    name: 'shared-memory-dir',
    group: 'Processes',
    type: path(),
    default: '/dev/shm',
    summary: 'Folder for the file that carries pixels to the models. Use tmpfs.',
    reason:
      'Each permit needs a slot of height × width × 3 bytes in this file. A number of `permits` ' +
      'reserves all slots at start, and too little space is an error then; `auto` reserves slots ' +
      'as it needs them, and too little space means fewer permits. Containers get 64 MiB of ' +
      '`/dev/shm` by default, enough for about 440 images of 224 × 224. A folder on a disk works ' +
      'and is slower. The server unlinks the file as soon as it is open, so nothing stays ' +
      'behind.',
  },
  maxBatchSize: {
    name: 'max-batch-size',
    group: 'Limits',
    type: autoOr(integer(1, 1024)),
    default: 'auto',
    summary: 'Largest batch. auto: 4 on CPU, 32 on CUDA, the last size when simulated.',
    reason:
      'On a CPU larger batches gain nothing and make images wait for each other; a GPU needs ' +
      'them to be busy. A batch starts as soon as a process is free, full or not. On CUDA ' +
      'batches are padded to 1, 2, 4 and so on up to this size, and each size is executed at ' +
      'start. A model whose answers depend on the rest of the batch runs image by image.',
  },
  permits: {
    name: 'permits',
    group: 'Limits',
    type: autoOr(integer(1, 65_536)),
    default: 'auto',
    summary: 'Most images in progress; more are rejected. auto: four seconds of work, at least 64.',
    reason:
      'This limits load and waiting: with four seconds of work admitted, no call waits much ' +
      'longer than that. Fewer permits reject calls that could have waited, and a retried call ' +
      'costs more than one that waits. `auto` follows the measured throughput, up and down, ' +
      'within half of the free `shared-memory-dir` and a quarter of the memory. A number is ' +
      'fixed, and its slots are reserved at start.',
  },
  uploadTimeoutMs: {
    name: 'upload-timeout',
    group: 'Limits',
    type: duration(),
    default: 10_000,
    summary: 'Longest time to receive one image.',
    reason:
      'Set it higher if callers have slow uplinks, such as phones, or if you raise ' +
      '`max-image-bytes`: only you know their network. Ten seconds carry 16 MiB at 14 Mbit/s. A ' +
      'call that takes longer ends with `UPLOAD_TIMEOUT`; without a limit, calls that stop ' +
      'sending would keep their place. In a stream the limit holds for each message, from its ' +
      'first byte.',
  },
  maxConnections: {
    name: 'max-connections',
    group: 'Limits',
    type: integer(1, 1_000_000),
    default: 1024,
    summary: 'Most connections to the gRPC port. The server closes further ones at once.',
    reason:
      'An open connection costs memory and a file descriptor. A client library sends all calls ' +
      'over one connection, so this is about the number of callers; ' +
      '`vitserve_connections_refused_total` counts what was closed. Raise it together with the ' +
      'limit of open files (`ulimit -n`): the server logs at start if that is too low.',
  },
  maxConnectionAgeMs: {
    name: 'max-connection-age',
    group: 'Limits',
    type: duration(0),
    default: 3_600_000,
    summary: 'Age at which a connection is asked to close, plus or minus 10 %. 0s: never.',
    reason:
      'A connection stays with its instance, so without this limit new instances get no calls, ' +
      'and a client with an expired certificate stays connected. Open calls may continue for the ' +
      'same time again. Lower it to a few minutes where instances come and go.',
  },
  maxImageBytes: {
    name: 'max-image-bytes',
    group: 'Limits',
    type: bytes(1024, GIB),
    default: 16 * MIB,
    summary: 'Largest image file, in bytes.',
    reason:
      'Nearly all photos of phones and cameras are below 16 MiB. The server rejects a larger ' +
      'image with `IMAGE_TOO_LARGE`, as soon as its length is known if it is more than 64 KiB ' +
      'above the limit. In a stream it skips the image and answers the others.',
  },
  maxImagePixels: {
    name: 'max-image-pixels',
    group: 'Limits',
    type: integer(1, 1_000_000_000),
    default: 50_000_000,
    summary: 'Largest image, in pixels: width times height.',
    reason:
      "A small file can hold an enormous image. The server reads the size from the file's header " +
      'and rejects too large an image with `IMAGE_TOO_LARGE` before decoding it. Most cameras ' +
      'make fewer than 50 million pixels. The memory limit of each decoder follows from it: 24 ' +
      'bytes per pixel and 300 MB. Photos need a small part of that; images made for the purpose ' +
      'need nearly all.',
  },
  startTimeoutMs: {
    name: 'start-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary: 'Longest time for a process to start, including loading and warming up its model.',
    reason:
      'The server kills a process that takes longer; if that happens at start, the server does ' +
      'not start. A minute is ample for a ViT-B on a local disk. Raise it for large models, slow ' +
      'volumes, or the first start on a GPU, which searches for the fastest kernels.',
  },
  inferenceTimeoutMs: {
    name: 'inference-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary: 'Longest time for one execution. Then the server replaces the inference process.',
    reason:
      'The last resort against executions that never end, as with broken drivers. It has to be ' +
      'longer than any normal batch of the slowest model on a busy machine, so it is generous.',
  },
  drainDelayMs: {
    name: 'drain-delay',
    group: 'Lifecycle',
    type: duration(0),
    default: 0,
    summary: 'How long to keep serving after SIGTERM while health says NOT_SERVING.',
    reason:
      'Load balancers need a moment to notice that an instance stops; it still answers calls ' +
      'during this time. In Kubernetes set a few seconds, such as `5s`. The default is none, so ' +
      'that Ctrl-C is quick.',
  },
  drainTimeoutMs: {
    name: 'drain-timeout',
    group: 'Lifecycle',
    type: duration(0),
    default: 30_000,
    summary: 'How long admitted calls may take to finish at stop. The rest is cancelled.',
    reason:
      'With `permits` at `auto` admitted calls take about four seconds; the rest is for slow ' +
      'models and long streams. Kubernetes kills after `terminationGracePeriodSeconds`, 30 by ' +
      'default: set that above the sum of `drain-delay` and `drain-timeout`.',
  },
  logLevel: {
    name: 'log-level',
    group: 'Logging',
    type: choice('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    default: 'info',
    summary: 'Least severe level to log.',
    reason:
      '`info` covers start, stop, replaced processes and failures. `debug` and `trace` add ' +
      'detail for finding a problem; do not use them under full load.',
  },
  logFormat: {
    name: 'log-format',
    group: 'Logging',
    type: choice('auto', 'json', 'pretty'),
    default: 'auto',
    summary: 'Format of the log. auto: pretty on a terminal, otherwise one JSON object per line.',
    reason: 'People read terminals and programs read pipes, so `auto` is nearly always right.',
  },
  logSample: {
    name: 'log-sample',
    group: 'Logging',
    type: integer(0, 1_000_000),
    default: 0,
    summary: 'Log every Nth answered call: 1 logs all, 100 every hundredth, 0 none.',
    reason:
      'Failed calls are always logged, at most ten lines per reason in ten seconds. Metrics ' +
      'count and time all calls; a sample adds the model, the time of each stage, and trace and ' +
      'request identifiers.',
  },
};

export const CLASSIFY_OPTIONS: OptionTable<ClassifySettings> = {
  address: {
    name: 'address',
    group: 'Request',
    type: address(1),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Address of the server.',
    reason:
      'The default is that of `vitserve serve`. Both commands read the same variable, so if it ' +
      'is set for the server, `vitserve classify` finds the server too.',
  },
  tlsCa: {
    name: 'tls-ca',
    group: 'Request',
    type: path(),
    default: null,
    summary: "PEM file with the authorities to trust for the server's certificate. Turns TLS on.",
    reason:
      'The server has to prove that it is the host in `address`. For a certificate of a public ' +
      "authority give the system's own list, such as `/etc/ssl/certs/ca-certificates.crt`.",
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Request',
    type: path(),
    default: null,
    summary: "PEM file with the client's certificate.",
    reason: 'For servers with `tls-client-ca`. `tls-key` has its key.',
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert.',
    reason: 'Needed with `tls-cert`.',
  },
  tokenFile: {
    name: 'token-file',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'File with the bearer token to send: its first line that is not a comment.',
    reason:
      "A file, because other users of a machine can see a program's flags. A server's own token " +
      'file works: the command sends its first token.',
  },
  model: {
    name: 'model',
    group: 'Request',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: "the server's default model",
    summary: 'Name of the model.',
    reason: 'If it is empty, the server uses its `default-model`.',
  },
  topK: {
    name: 'top-k',
    group: 'Request',
    type: integer(0, 2_147_483_647),
    default: 5,
    summary: "How many labels to ask for, best first. 0: the server's choice, which is 5.",
    reason: 'If it is above the number of classes, all of them come back.',
  },
  timeoutMs: {
    name: 'timeout',
    group: 'Request',
    type: duration(),
    default: 30_000,
    summary: 'Deadline of each call.',
    reason: "The deadline travels with the call, so the server drops what it can't answer in time.",
  },
  concurrency: {
    name: 'concurrency',
    group: 'Request',
    type: integer(1, 256),
    default: 8,
    summary: 'How many images to send at the same time.',
    reason:
      'Enough to keep a CPU server busy without being rejected. Raise it for a server with a GPU ' +
      'or one that is far away.',
  },
  json: {
    name: 'json',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print one JSON object per line.',
    reason: 'For programs. The text is for people and may change between versions.',
  },
};
