/**
 * The option tables: the only source of flags, `VITSERVE_…` variables, config-file keys, `--help`
 * and `docs/configuration.md`.
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
  costTable,
  duration,
  integer,
  path,
  sizes,
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
      'For settings that are reviewed and rolled out as a file, such as a mounted ConfigMap. There is none by default, ' +
      'so a server started without one has exactly the settings that its command line and environment show. The file ' +
      'is read once, at start.',
  },
  address: {
    name: 'address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Where gRPC listens. Port 0 takes a free one.',
    reason:
      'The default is reachable from this machine alone: unless told otherwise the server asks callers for no credentials, so ' +
      'opening it to a network is for you to decide ([security.md](security.md)). In a container use `0.0.0.0:50051`, or `[::]:50051` for IPv4 and IPv6. ' +
      '50051 is the port that gRPC examples and tools assume.',
  },
  httpAddress: {
    name: 'http-address',
    group: 'Serving',
    type: address(0),
    default: { host: '127.0.0.1', port: 8080 },
    summary: 'Where HTTP listens, for /metrics, /livez and /readyz. Port 0 takes a free one.',
    reason:
      'Metrics and probes have a port of their own, so that it can stay closed to callers. Needs a host that your ' +
      'Prometheus and the kubelet can reach: `0.0.0.0:8080` in a container.',
  },
  reflection: {
    name: 'reflection',
    group: 'Serving',
    type: boolean(),
    default: true,
    summary: 'Whether tools such as grpcurl may ask the server for its services and messages.',
    reason:
      'On by default, because it lets a newcomer call the server without the `.proto` file. It shows nothing ' +
      'else; turn it off where even the shape of an interface should not be public.',
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Security',
    type: path(),
    default: null,
    summary:
      "PEM file with the server's certificate, followed by its intermediates. With it gRPC is TLS only.",
    reason:
      'There is none by default, because a certificate is somebody’s to give. The file and the two below are looked at every ' +
      'ten seconds, and at once on SIGHUP: new connections get the new certificate, open ones stay as they are, and what ' +
      'can not be used is logged and counted while the old one stays. [security.md](security.md#tls) has the rest.',
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert.',
    reason:
      'Needed with `tls-cert`, and of no use without it. A key that is locked with a passphrase is refused.',
  },
  tlsClientCa: {
    name: 'tls-client-ca',
    group: 'Security',
    type: path(),
    default: null,
    summary: 'PEM file with the authorities whose certificates callers must show (mutual TLS).',
    reason:
      'Whoever has no certificate of one of these authorities gets no connection. The authorities of the system are never ' +
      'trusted for this, for they would let in everybody who owns a domain; so a file without a certificate is an error.',
  },
  tokenFile: {
    name: 'token-file',
    group: 'Security',
    type: path(),
    default: null,
    summary:
      'File with bearer tokens, one a line, any of which callers must send. # begins a comment.',
    reason:
      'Callers send `authorization: Bearer TOKEN`; those who do not are answered with `TOKEN_INVALID`. Health needs ' +
      'no token. Several tokens are valid at once, so that one can be replaced without a gap, and the file is looked ' +
      'at every ten seconds. Use it together with TLS: without, everybody on the way can read the tokens.',
  },
  healthAddress: {
    name: 'health-address',
    group: 'Security',
    type: address(0),
    default: null,
    summary:
      'Where gRPC health listens besides, without TLS and tokens, and nothing else. Port 0 takes a free one.',
    reason:
      'The gRPC probes of the kubelet speak plaintext and show no certificate, so with `tls-cert` they need this port. It ' +
      'tells whether the server and its models serve; keep it inside of the cluster all the same.',
  },
  models: {
    name: 'models',
    group: 'Model',
    type: path(),
    default: PACKAGE_MODELS,
    defaultText: "the package's own models folder",
    summary: 'Folder of the model repository: NAME/VERSION/model.onnx beside model.json.',
    reason:
      'Of each model the highest version is served. The default is the `models` folder that comes with vitserve, ' +
      'whatever the working directory, so that a first start works. A relative path of your own is resolved against ' +
      'the working directory.',
  },
  model: {
    name: 'model',
    group: 'Model',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: 'the only one in the repository',
    summary: 'Name of the model for requests that name none.',
    reason:
      'Needed only where the repository holds several models: which of them is the default should not depend on how ' +
      'their names sort.',
  },
  allowRandomWeights: {
    name: 'allow-random-weights',
    group: 'Model',
    type: boolean(),
    default: false,
    summary:
      'Whether a model with random weights, which vitserve convert --random makes, may be served.',
    reason:
      'Such a model costs what a trained one costs and knows nothing: good for sizing a machine, and never for answers. Its ' +
      'manifest says `"weights": "random"` under `provenance`, and without this option that is an error at start.',
  },
  modelsPollIntervalMs: {
    name: 'models-poll-interval',
    group: 'Model',
    type: duration(0),
    default: 0,
    summary: 'How often the model repository is looked at for new versions. 0s: only on SIGHUP.',
    reason:
      'A new version is started in processes of its own, answers drawn pictures, and only then takes the place of the ' +
      'old one, which answers what it has begun. Off by default, so that nothing changes unless somebody says so; ' +
      '`kill -HUP` asks for it at once. A version that could not be loaded is left alone until the next SIGHUP or version.',
  },
  executionProvider: {
    name: 'execution-provider',
    group: 'Model',
    type: choice('auto', 'cpu', 'cuda'),
    default: 'auto',
    summary: 'What runs the model. auto: CUDA where it works, otherwise the CPU.',
    reason:
      '`auto` starts anywhere; what was chosen stands in the log, in a metric and in every reply. On machines that you ' +
      'pay for their GPU ask for `cuda`: without a working one the server then refuses to start, rather than serve a ' +
      'small part of the load from the CPU.',
  },
  inferenceProcesses: {
    name: 'inference-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary:
      'Processes that run models, all models together. auto: one per available core on CPU, one each otherwise.',
    reason:
      'On a CPU, several single-threaded processes make more of the cores than one process with many threads (ViT-Ti ' +
      'int8 on two cores: 240 images/s against 131). Several models share them equally, and each has one at least. ' +
      'Each process holds its own copy of the model, so give fewer of them more ' +
      '`inference-threads` where copies do not fit the memory. The cores counted are those that the cgroup quota ' +
      'grants, not those of the machine.',
  },
  inferenceThreads: {
    name: 'inference-threads',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'CPU threads of each inference process. auto: 1.',
    reason:
      'More threads shorten one inference at the cost of throughput. Raise it where a large model should answer a few ' +
      'callers sooner, and lower `inference-processes` so that processes times threads stays within the cores.',
  },
  decoderProcesses: {
    name: 'decoder-processes',
    group: 'Processes',
    type: autoOr(integer(1, 256)),
    default: 'auto',
    summary: 'Processes that decode images. auto: one per available core.',
    reason:
      'Images are untrusted input, so they are decoded outside the process that serves: a decoder that crashes or ' +
      'hangs is replaced, and other requests only wait a little longer. A decoder without work costs only its memory; ' +
      'lower this where memory is short.',
  },
  jpegDecoder: {
    name: 'jpeg-decoder',
    group: 'Processes',
    type: choice('auto', 'sharp'),
    default: 'auto',
    summary:
      'What decodes ordinary JPEG files. auto: libturbojpeg where it can be loaded, otherwise sharp.',
    reason:
      'With libturbojpeg a photo takes less than half of the CPU time that sharp needs, and the pixels are the same. It ' +
      'comes for Linux on x64 and arm64; elsewhere, and for PNG, WebP and unusual JPEG files, sharp decodes in any case. ' +
      '`sharp` leaves libturbojpeg out altogether, should a flaw of it become known before you can update.',
  },
  sharedMemoryDir: {
    name: 'shared-memory-dir',
    group: 'Processes',
    type: path(),
    default: '/dev/shm',
    summary:
      'Folder for the file through which decoded pixels reach the model; in memory, if possible.',
    reason:
      'Each permit has a slot of height × width × 3 bytes in this file, reserved at start: too little room is an error ' +
      'then, and never later. (With `permits` at `auto` slots are reserved as they are first needed; too little room means fewer permits.) Containers get 64 MiB of `/dev/shm` unless told otherwise, enough for about 440 images ' +
      'of 224 × 224. A folder on a disk works too, and is slower. The file is unlinked as soon as it is open, so ' +
      'nothing is left behind.',
  },
  maxBatchSize: {
    name: 'max-batch-size',
    group: 'Limits',
    type: autoOr(integer(1, 1024)),
    default: 'auto',
    summary:
      'Most images in one execution. auto: 4 on CPU, 32 on CUDA, the largest of the cost table when simulated.',
    reason:
      'On a CPU larger batches gain nothing and make each image wait for its neighbours; a GPU needs them to be busy. ' +
      'A batch does not wait to be full unless `max-queue-delay` allows it: it starts as soon as an inference process is free. Models whose answers would ' +
      'depend on who else is in the batch run image by image, whatever stands here.',
  },
  batchSizes: {
    name: 'batch-sizes',
    group: 'Limits',
    type: autoOr(sizes()),
    default: 'auto',
    summary:
      'Sizes that batches are padded to, the last being the largest batch. auto: 1, 2, 4 and so on up to max-batch-size on CUDA; ' +
      'elsewhere batches are executed as they are.',
    reason:
      'On a GPU every new batch size costs a search for the fastest kernels and memory that is not given back, so only ' +
      'these sizes are executed there, each at start already. Fewer sizes start sooner and take less memory; more waste less on ' +
      'padding. What a size costs is in `vitserve_batch_cost_seconds`. On a CPU leave it at `auto`.',
  },
  maxQueueDelayMs: {
    name: 'max-queue-delay',
    group: 'Limits',
    type: duration(0),
    default: 0,
    summary:
      'Longest time that a free inference process waits for company of the images that there are. 0ms: it never waits.',
    reason:
      'By default no image waits for another: batches grow by themselves when every process is busy. A GPU near its limit can ' +
      'finish more images a second if it waits a moment for a larger batch. Above 0 it does so, but only while measured costs ' +
      'and the rate of arrivals say that it pays, and only as long as no deadline suffers; on a CPU it never pays.',
  },
  overtakingLimitMs: {
    name: 'overtaking-limit',
    group: 'Limits',
    type: duration(),
    default: 5_000,
    summary: 'How much later a more urgent image may come and still go first.',
    reason:
      'Images with the earliest deadline go first. One whose deadline is further away than this, or that has none, counts as ' +
      'if its deadline were this long after its arrival; so nothing waits for ever behind a stream of urgent calls. Images of ' +
      'ClassifyStream calls give way to unary calls that come up to this much later. Five seconds are a little longer than the default ' +
      '`permits` let a queue become: with less, calls without a deadline could fill it up so far that those with a near one ' +
      'find no time in it. Shorter comes closer to first come, first served.',
  },
  permits: {
    name: 'permits',
    group: 'Limits',
    type: autoOr(integer(1, 65_536)),
    default: 'auto',
    summary:
      'Most images admitted and not yet answered; more are rejected. auto: what can be answered in four seconds, at least 64, ' +
      'corrected while serving.',
    reason:
      'This is the bound on load, and so on waiting: with four seconds of work admitted, nobody waits much longer than ' +
      'that, however many call. Fewer permits reject callers who could have waited, and a rejected caller who sends his image ' +
      'again costs more than one who waits; a call whose deadline the queue can not meet is told so before it gets a permit. ' +
      'At `auto` the number follows what the machine answers under load, up and down, as far as half of the free ' +
      '`shared-memory-dir` holds the slots, and a quarter of the memory these and a waiting photo for each. ' +
      'A number stays what it is, and its slots are reserved at start.',
  },
  maxUploads: {
    name: 'max-uploads',
    group: 'Limits',
    type: autoOr(integer(1, 65_536)),
    default: 'auto',
    summary:
      'Most calls that may be sending their image at the same time. auto: as many as permits.',
    reason:
      'A call takes a permit when its image is complete, so slow senders can not use up the permits; this bounds them ' +
      'instead. At worst the front process holds this many times `max-image-bytes` of half-sent images: lower it ' +
      'where that is more than the memory.',
  },
  uploadTimeoutMs: {
    name: 'upload-timeout',
    group: 'Limits',
    type: duration(),
    default: 10_000,
    summary: 'Time a call may take to send its image, from when it is let in.',
    reason:
      'Without it, callers that stop sending would hold their place in `max-uploads` for ever. Ten seconds carry an ' +
      'image of 16 MiB over a line of 14 Mbit/s. The call ends with `UPLOAD_TIMEOUT`. It holds for each message of a ' +
      'stream too, from its first byte on.',
  },
  maxConnections: {
    name: 'max-connections',
    group: 'Limits',
    type: integer(1, 1_000_000),
    default: 1024,
    summary: 'Most connections to the gRPC port at the same time. Further ones are closed at once.',
    reason:
      'An open connection costs memory and a file descriptor, whoever holds it. A client library opens one and sends all its ' +
      'calls over it, so this is about the number of callers. What is closed is counted in ' +
      '`vitserve_connections_refused_total`. Raise it together with the limit of open files (`ulimit -n`): where that is too low, a line of the log says so at start.',
  },
  maxConnectionIdleMs: {
    name: 'max-connection-idle',
    group: 'Limits',
    type: duration(0),
    default: 600_000,
    summary: 'Time after which a connection without an open call is asked to close. 0s: never.',
    reason:
      'Callers that have gone to sleep should not fill up `max-connections`. Client libraries connect anew with the next ' +
      'call, so this costs them one handshake at most.',
  },
  maxConnectionAgeMs: {
    name: 'max-connection-age',
    group: 'Limits',
    type: duration(0),
    default: 3_600_000,
    summary: 'Age, give or take a tenth, at which a connection is asked to close. 0s: never.',
    reason:
      'A connection stays with the instance that it was made to, so without this new instances get no calls, and a caller ' +
      'whose certificate has expired stays in. Calls that are open may go on for as long again before they are cut. Lower ' +
      'it, to a few minutes, where instances come and go.',
  },
  maxImageBytes: {
    name: 'max-image-bytes',
    group: 'Limits',
    type: bytes(1024, GIB),
    default: 16 * MIB,
    summary: 'Largest image file accepted, in bytes.',
    reason:
      'Nearly all photos of phones and cameras are below 16 MiB. A larger image is refused with `IMAGE_TOO_LARGE`, and one that ' +
      'is more than 64 KiB above the limit already when its length is known, before it has arrived. In a stream it is skipped, ' +
      'and the other images are answered.',
  },
  maxImagePixels: {
    name: 'max-image-pixels',
    group: 'Limits',
    type: integer(1, 1_000_000_000),
    default: 50_000_000,
    summary: 'Largest image accepted, in pixels: width times height.',
    reason:
      'A small file can unfold to an enormous image. The size is read from the file header, and too large an image is ' +
      'refused with `IMAGE_TOO_LARGE` before any of it is decoded. 50 million pixels are more than most cameras make. ' +
      'The memory of a decoder is bounded accordingly, by 24 bytes for each of them and 300 MB for all else: photos take a ' +
      'small part of it, pictures made for that nearly all. Multiply by `decoder-processes` for the worst case.',
  },
  startTimeoutMs: {
    name: 'start-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary:
      'Time a decoder or inference process may take to start, with loading and warming up its model.',
    reason:
      'A process that takes longer is killed; at start of the server that is an error and the end. A minute is ample ' +
      'for a ViT-B from a local disk; raise it for large models, slow volumes, or the first start on a GPU, which ' +
      'searches for the fastest kernels.',
  },
  decodeTimeoutMs: {
    name: 'decode-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 10_000,
    summary: 'Processor time a decoder may spend on one image before it is killed and replaced.',
    reason:
      'A photo takes milliseconds, and even the largest image that `max-image-pixels` lets in stays within three ' +
      'seconds. Processor time is what counts, not time on the clock: a decoder that other processes leave little is not at ' +
      'fault, and neither is its image. One that uses none for as long is stuck and is replaced too, and so is one that has not ' +
      'answered after ten times as long. Where the system does not tell what a process uses (not Linux), time on the clock counts. ' +
      'Raise it together with `max-image-pixels`.',
  },
  inferenceTimeoutMs: {
    name: 'inference-timeout',
    group: 'Lifecycle',
    type: duration(),
    default: 60_000,
    summary: 'Time one execution may take before its inference process is killed and replaced.',
    reason:
      'The last resort against an execution that never ends, which happens with broken drivers. It must be longer than ' +
      'any honest batch, the slowest model and a busy machine included, so it is generous.',
  },
  drainDelayMs: {
    name: 'drain-delay',
    group: 'Lifecycle',
    type: duration(0),
    default: 0,
    summary: 'Time to go on serving after SIGTERM, while health already says NOT_SERVING.',
    reason:
      'Load balancers need a moment to notice that an instance is leaving; calls that they still send are answered ' +
      'during this time. In Kubernetes set some seconds, such as `5s`. The default is none, so that Ctrl-C is quick ' +
      'where nothing stands in front of the server.',
  },
  drainTimeoutMs: {
    name: 'drain-timeout',
    group: 'Lifecycle',
    type: duration(0),
    default: 30_000,
    summary:
      'Time that admitted calls have to finish when the server stops; what is left is then ended.',
    reason:
      'With `permits` at `auto` admitted calls need about four seconds; the rest is for slow models and long streams. Kubernetes kills ' +
      'after `terminationGracePeriodSeconds`, 30 by default: set that above the sum of `drain-delay` and `drain-timeout`.',
  },
  logLevel: {
    name: 'log-level',
    group: 'Logging',
    type: choice('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    default: 'info',
    summary: 'Least severe level that is logged.',
    reason:
      '`info` tells of start, stop, processes that were replaced, and failures. `debug` and `trace` add the ' +
      'detail for looking into a problem, and are not for full load.',
  },
  logFormat: {
    name: 'log-format',
    group: 'Logging',
    type: choice('auto', 'json', 'pretty'),
    default: 'auto',
    summary: 'Form of the log. auto: pretty on a terminal, otherwise JSON, one object a line.',
    reason: 'People read terminals and machines read pipes, so `auto` is right nearly everywhere.',
  },
  logSample: {
    name: 'log-sample',
    group: 'Logging',
    type: integer(0, 1_000_000),
    default: 0,
    summary:
      'Of the calls that were answered, every so-many-th is logged: 1 all of them, 100 every hundredth. 0: none.',
    reason:
      'Calls that fail are logged in any case, at most ten lines of one reason in ten seconds. Answered ones are counted and ' +
      'timed by the metrics, and a line for each is more than anybody reads; a sample shows what they are like: which model, ' +
      'how long each stage took, and by its trace and request identifiers whose call it was.',
  },
  simulatedInference: {
    name: 'simulated-inference',
    group: 'Simulation',
    type: costTable(),
    default: null,
    summary:
      'Run no model: wait for the milliseconds given per batch size and answer with made-up scores. For trying out ' +
      'batching without a GPU.',
    reason:
      'Shows dynamic batching, overload and draining on a laptop as a GPU with these times would: everything but the ' +
      'execution is real. Write times for ascending batch sizes from 1, such as `1:1.0,8:2.2,32:6.5`; the ' +
      'last is the largest batch there will be. In a config file the object `{"1": 1.0, "8": 2.2, "32": 6.5}` does as ' +
      'well. Replies say `execution_provider: "simulated"`. Never on by default, and never to be used for answers.',
  },
};

export const CLASSIFY_OPTIONS: OptionTable<ClassifySettings> = {
  address: {
    name: 'address',
    group: 'Request',
    type: address(1),
    default: { host: '127.0.0.1', port: 50_051 },
    summary: 'Where the server listens.',
    reason:
      'The default is that of `vitserve serve`. Both commands read the same variable, so where it is set for the ' +
      'server, `vitserve classify` beside it finds the server too.',
  },
  tlsCa: {
    name: 'tls-ca',
    group: 'Request',
    type: path(),
    default: null,
    summary:
      "PEM file with the authorities that the server's certificate may come from. With it the connection is TLS.",
    reason:
      'The server has to prove that it is the host that `address` names. For a certificate of a public authority give the ' +
      "system's own list, such as `/etc/ssl/certs/ca-certificates.crt`.",
  },
  tlsCert: {
    name: 'tls-cert',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'PEM file with the certificate to show to a server that asks for one.',
    reason: 'For servers with `tls-client-ca`. The key of the certificate comes from `tls-key`.',
  },
  tlsKey: {
    name: 'tls-key',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'PEM file with the private key of tls-cert.',
    reason: 'Needed with `tls-cert`, and of no use without it.',
  },
  tokenFile: {
    name: 'token-file',
    group: 'Request',
    type: path(),
    default: null,
    summary: 'File with the bearer token to send: its first line that is no comment.',
    reason:
      "In a file, because other users of a machine can see a program's flags. The file of a server will do: its first token is " +
      'sent.',
  },
  model: {
    name: 'model',
    group: 'Request',
    type: string('NAME', "a model's name"),
    default: '',
    defaultText: "the server's default model",
    summary: 'Name of the model to ask.',
    reason: 'Empty, the server chooses: the model that its own `model` option names.',
  },
  topK: {
    name: 'top-k',
    group: 'Request',
    type: integer(0, 2_147_483_647),
    default: 5,
    summary: 'How many labels to ask for, best first. 0 leaves it to the server, which gives five.',
    reason: 'Above the number of classes of the model, all of them come back.',
  },
  timeoutMs: {
    name: 'timeout',
    group: 'Request',
    type: duration(),
    default: 30_000,
    summary: 'Deadline of each call: an image that is not answered by then has failed.',
    reason:
      'It travels with the call, so the server drops what can no longer be answered in time instead of working on it ' +
      'in vain.',
  },
  concurrency: {
    name: 'concurrency',
    group: 'Request',
    type: integer(1, 256),
    default: 8,
    summary: 'How many images may be under way at the same time.',
    reason:
      'Enough to keep a CPU server busy without being refused. Raise it for a server with a GPU or for one far away.',
  },
  json: {
    name: 'json',
    group: 'Output',
    type: boolean(),
    default: false,
    summary: 'Print one JSON object a line instead of text.',
    reason:
      'For programs that read the answers. The text is for people and may change between versions.',
  },
};
