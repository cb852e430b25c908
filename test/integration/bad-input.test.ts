/**
 * The tables of bad input in docs/reference/errors.md, executed: every row is sent to, or set up
 * for, a real server. A row that is missing, wrong or too many fails; the failure shows the row as
 * it should be.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { huffmanScans } from '../support/costly-jpegs.js';
import { manyFrames } from '../support/costly-webps.js';
import { readTable, writeRow } from '../support/document-table.js';
import { type CallFailure, failureOf, PlainClient, readDetails } from '../support/grpc-client.js';
import {
  corruptPng,
  exactPng,
  GIF,
  garbage,
  jpeg,
  plainPng,
  SVG,
  TEXT,
  truncated,
  webp,
} from '../support/images.js';
import { RawConnection, reasonIn } from '../support/raw-call.js';
import {
  MODELS,
  ON_CPU,
  ONE_EACH,
  PROGRAM,
  type Scope,
  ServerProcess,
  suiteScope,
  temporaryFolder,
  vitserve,
} from '../support/server.js';

const DOCUMENT = 'docs/reference/errors.md';
const MODEL = 'vit-cifar10';

interface Manifest {
  [key: string]: unknown;
  graph: { file: string; sha256: string };
  input: { name: string; height: number };
  embedding: { name: string; size: number } | null;
  labels: string[];
}

/**
 * A repository of its own with the default model, to be spoiled. The graph is linked, since it is
 * large.
 */
function copyOfModels(scope: Scope, edit: (manifest: Manifest) => void = () => {}): string {
  const repository = temporaryFolder(scope);
  const folder = join(repository, MODEL, '1');
  mkdirSync(folder, { recursive: true });
  symlinkSync(join(MODELS, MODEL, '1/model.onnx'), join(folder, 'model.onnx'));
  const manifest = JSON.parse(
    readFileSync(join(MODELS, MODEL, '1/model.json'), 'utf8'),
  ) as Manifest;
  edit(manifest);
  writeFileSync(join(folder, 'model.json'), JSON.stringify(manifest));
  return repository;
}

/** Rows of one table by their first cell. */
function documented(heading: string): Map<string, string[]> {
  const rows = readTable(DOCUMENT, heading).map(
    ([first = '', ...cells]) => [first, cells] as const,
  );
  assert.equal(
    new Map(rows).size,
    rows.length,
    `${DOCUMENT}, ${heading}: a row stands there twice`,
  );
  return new Map(rows);
}

/** One test for each row, and one for rows without a test. */
function testRows<Row extends { readonly what: string }>(
  heading: string,
  rows: readonly Row[],
  see: (row: Row, t: TestContext) => Promise<readonly string[] | null>,
): void {
  const table = documented(heading);
  for (const row of rows) {
    test(`${row.what}: answered as the document says`, async (t) => {
      const seen = await see(row, t);
      if (seen === null) return;
      const said = table.get(row.what);
      assert.deepEqual(
        said,
        seen,
        `${DOCUMENT} should have the row\n${writeRow([row.what, ...seen])}\n`,
      );
    });
  }
  test('every row of the document is tested', () => {
    assert.deepEqual(
      [...table.keys()],
      rows.map(({ what }) => what),
    );
  });
}

const MAX_BYTES = 65_536;
const MAX_PIXELS = 1_000_000;

describe('calls with bad input', () => {
  const scope = suiteScope();
  let server: ServerProcess;
  let client: PlainClient;

  before(async () => {
    const models = copyOfModels(scope, (manifest) => {
      manifest.embedding = null;
    });
    const limits = [
      '--max-image-bytes',
      String(MAX_BYTES),
      '--max-image-pixels',
      String(MAX_PIXELS),
    ];
    server = await ServerProcess.start(scope, [
      ...ON_CPU,
      ...ONE_EACH,
      '--model-repository',
      models,
      ...limits,
    ]);
    client = new PlainClient(scope, server.address);
  });

  const classify = async (image: Buffer | Promise<Buffer>) =>
    failureOf(client.classify({ image: await image }));

  const tooManyPixels = async () => {
    const { file } = await exactPng(1);
    file.writeUInt32BE(40_000, 16);
    file.writeUInt32BE(40_000, 20);
    return file;
  };

  /** The status of one image of a stream, as a call's. */
  const inStream = async () => {
    const stream = client.stream();
    stream.send('1', null);
    stream.finish();
    const [{ status } = { status: undefined }] = await stream.count(1);
    assert(status);
    return {
      code: status.code === 3 ? 'INVALID_ARGUMENT' : String(status.code),
      message: status.message,
      ...readDetails(status),
    };
  };

  /** A message that is not a ClassifyRequest: a field of a wire type that does not exist. */
  const notProtobuf = async (t: TestContext) => {
    const connection = await RawConnection.open(t, server.port);
    const call = connection.begin('Classify');
    call.write(Buffer.from([0, 0, 0, 0, 2, 0x0f, 0xff]));
    call.finish();
    const { headers } = await call.ended;
    const code =
      headers['grpc-status'] === '3' ? 'INVALID_ARGUMENT' : String(headers['grpc-status']);
    return {
      code,
      message: decodeURIComponent(String(headers['grpc-message'])),
      reason: reasonIn(headers),
    };
  };

  const rows: {
    what: string;
    call: (t: TestContext) => Promise<Pick<CallFailure, 'code' | 'reason' | 'message'>>;
  }[] = [
    { what: 'an empty image', call: () => classify(Buffer.alloc(0)) },
    { what: 'a text file', call: () => classify(TEXT) },
    {
      what: 'a data URL',
      call: () => classify(Buffer.from('data:image/jpeg;base64,/9j/4AAQSkZJRg==')),
    },
    { what: 'an SVG', call: () => classify(SVG) },
    { what: 'a GIF', call: () => classify(GIF) },
    {
      what: 'a HEIC photo',
      call: () => classify(Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')),
    },
    { what: 'a JPEG of very many scans', call: () => classify(huffmanScans(1_000, 1_000, 150)) },
    {
      what: 'a WebP animation of very many frames that ends half-way',
      call: () => classify(truncated(manyFrames(1_000))),
    },
    {
      what: 'a JPEG that ends half-way',
      call: async () => classify(truncated(await jpeg(1, 64, 64))),
    },
    {
      what: 'a WebP that ends half-way',
      call: async () => classify(truncated(await webp(1, 64, 64))),
    },
    {
      what: 'a PNG that ends half-way',
      call: async () => classify(truncated((await exactPng(1)).file)),
    },
    {
      what: 'a PNG with a wrong checksum in its header',
      call: async () => classify(corruptPng((await exactPng(1)).file)),
    },
    { what: 'garbage that begins like a JPEG', call: () => classify(garbage(1, 'jpeg')) },
    {
      what: 'an image of more bytes than `max-image-bytes`',
      call: () => classify(Buffer.alloc(MAX_BYTES + 1, 0xff)),
    },
    {
      what: 'a message more than 64 KiB above `max-image-bytes`',
      call: () => classify(Buffer.alloc(MAX_BYTES + 65_536, 0xff)),
    },
    {
      what: 'a picture of more pixels than `max-image-pixels`',
      call: () => classify(plainPng([1, 2, 3], 1_001)),
    },
    { what: 'a small file that says it is enormous', call: () => classify(tooManyPixels()) },
    {
      what: 'the name of a model that is not there',
      call: async () => failureOf(client.classify({ image: await jpeg(1), model: 'resnet' })),
    },
    {
      what: 'a negative `top_k`',
      call: async () => failureOf(client.classify({ image: await jpeg(1), topK: -1 })),
    },
    {
      what: 'Embed for a model without an embedding',
      call: async () => failureOf(client.embed({ image: await jpeg(1) })),
    },
    { what: 'a message of a stream without its `request`', call: inStream },
    { what: 'a negative `page_size`', call: () => failureOf(client.listModels({ pageSize: -1 })) },
    {
      what: 'a `page_token` that was never given out',
      call: () => failureOf(client.listModels({ pageToken: 'x' })),
    },
    { what: 'bytes that are no message of the contract', call: notProtobuf },
  ];

  testRows('Calls', rows, async ({ call }, t) => {
    const { code, reason, message } = await call(t);
    return [code, reason ?? '', message];
  });

  test('none of it costs a process, or is logged as a fault of the server', async () => {
    assert.equal(await server.metric('vitserve_process_losses_total'), 0);
    assert(
      !server.lines.some(({ level }) => ['warn', 'error', 'fatal'].includes(level)),
      server.output,
    );
    assert.equal((await client.classify({ image: await jpeg(1) })).predictions.length, 5);
  });
});

/** A port in use. */
async function occupiedPort(scope: Scope): Promise<string> {
  const other = createServer();
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  scope.after(() => other.close());
  return `127.0.0.1:${(other.address() as { port: number }).port}`;
}

interface Setup {
  readonly flags: readonly string[];
  /** Texts that differ from run to run, and their placeholders in the document. */
  readonly masked?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly within?: readonly string[];
}

/** Spoils the only version of a copied repository. */
function spoilt(
  scope: Scope,
  spoil: (folder: string) => void,
  edit?: (manifest: Manifest) => void,
): Setup {
  const models = copyOfModels(scope, edit);
  spoil(join(models, MODEL, '1'));
  return { flags: ['--model-repository', models], masked: { [models]: 'MODELS' } };
}

/** Replaces the graph by another file, with its hash in the manifest. */
function otherGraph(folder: string, bytes: Buffer): void {
  const manifest = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as Manifest;
  manifest.graph.sha256 = createHash('sha256').update(bytes).digest('hex');
  rmSync(join(folder, 'model.onnx'));
  writeFileSync(join(folder, 'model.onnx'), bytes);
  writeFileSync(join(folder, 'model.json'), JSON.stringify(manifest));
}

const nothing = () => {};

/**
 * How to run a command with a full tmpfs of one mebibyte over a folder; null if that is not allowed
 * here.
 */
function withSmallTmpfs(folder: string): readonly string[] | null {
  const mount = `mount -t tmpfs -o size=1m tmpfs '${folder}' && exec "$@"`;
  const within = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', mount, 'sh'];
  return spawnSync(within[0] as string, [...within.slice(1), 'true']).status === 0 ? within : null;
}

const startUps: {
  what: string;
  set: (scope: Scope) => Setup | string | Promise<Setup | string>;
}[] = [
  {
    what: 'several wrong settings at once',
    set: () => ({
      flags: ['--permits', '0', '--adress', '0.0.0.0:1'],
      environment: { VITSERVE_LOG_LEVEL: 'loud' },
    }),
  },
  {
    what: 'an empty model repository',
    set: (scope) => {
      const models = temporaryFolder(scope);
      return { flags: ['--model-repository', models], masked: { [models]: 'MODELS' } };
    },
  },
  {
    what: 'several models and none chosen',
    set: (scope) =>
      spoilt(scope, (folder) => {
        cpSync(join(folder, '../..', MODEL), join(folder, '../../another'), {
          recursive: true,
          verbatimSymlinks: true,
        });
      }),
  },
  {
    what: 'the name of a model that is not there',
    set: (scope) => {
      const { flags, masked = {} } = spoilt(scope, nothing);
      return { flags: [...flags, '--default-model', 'resnet'], masked };
    },
  },
  {
    what: 'no model repository where `model-repository` says',
    set: (scope) => {
      const models = join(temporaryFolder(scope), 'gone');
      return { flags: ['--model-repository', models], masked: { [models]: 'MODELS' } };
    },
  },
  {
    what: 'a model without a version',
    set: (scope) => spoilt(scope, (folder) => renameSync(folder, join(folder, '../latest'))),
  },
  {
    what: 'no manifest',
    set: (scope) => spoilt(scope, (folder) => rmSync(join(folder, 'model.json'))),
  },
  {
    what: 'a manifest that is no JSON',
    set: (scope) =>
      spoilt(scope, (folder) => writeFileSync(join(folder, 'model.json'), 'labels: cat, dog')),
  },
  {
    what: 'a manifest with an unknown key',
    set: (scope) =>
      spoilt(scope, nothing, (manifest) => {
        manifest.lables = ['cat'];
      }),
  },
  {
    what: 'a manifest with wrong types, and a key that is missing',
    set: (scope) =>
      spoilt(scope, nothing, (manifest) => {
        Object.assign(manifest.input, { height: '32' });
        Object.assign(manifest, { labels: 'cat' });
        delete manifest.batchInvariant;
      }),
  },
  {
    what: 'a manifest whose recipe makes pictures of another size',
    set: (scope) =>
      spoilt(scope, nothing, (manifest) => {
        manifest.input.height = 224;
      }),
  },
  {
    what: 'no graph',
    set: (scope) => spoilt(scope, (folder) => rmSync(join(folder, 'model.onnx'))),
  },
  {
    what: 'a graph with another sha256',
    set: (scope) =>
      spoilt(
        scope,
        (folder) => {
          rmSync(join(folder, 'model.onnx'));
          writeFileSync(join(folder, 'model.onnx'), 'another graph');
        },
        (manifest) => {
          manifest.graph.sha256 = '0'.repeat(64);
        },
      ),
  },
  {
    what: 'a graph that is no ONNX file',
    set: (scope) => spoilt(scope, (folder) => otherGraph(folder, Buffer.from('not a graph'))),
  },
  {
    what: 'a manifest that does not fit its graph',
    set: (scope) =>
      spoilt(scope, nothing, (manifest) => {
        manifest.input.name = 'image';
        manifest.labels.pop();
        manifest.embedding = { name: 'embedding', size: 768 };
      }),
  },
  {
    what: 'a gRPC port that is taken',
    set: async (scope) => {
      const address = await occupiedPort(scope);
      return { flags: ['--address', address], masked: { [address]: '127.0.0.1:PORT' } };
    },
  },
  {
    what: 'an HTTP port that is taken',
    set: async (scope) => {
      const address = await occupiedPort(scope);
      return { flags: ['--http-address', address], masked: { [address]: '127.0.0.1:PORT' } };
    },
  },
  {
    what: 'no folder where `shared-memory-dir` says',
    set: (scope) => {
      const folder = join(temporaryFolder(scope), 'gone');
      return { flags: ['--shared-memory-dir', folder], masked: { [folder]: 'FOLDER' } };
    },
  },
  {
    what: 'too little room in `shared-memory-dir`',
    set: (scope) => {
      const folder = temporaryFolder(scope);
      const within = withSmallTmpfs(folder);
      if (within === null)
        return 'this machine does not let a test mount a small tmpfs (unshare --user --mount)';
      return {
        flags: ['--shared-memory-dir', folder, '--permits', '1000'],
        masked: { [folder]: 'FOLDER' },
        within,
      };
    },
  },
  {
    what: 'an execution provider that does not work here',
    set: () =>
      existsSync('/dev/nvidiactl')
        ? 'this machine has an NVIDIA GPU'
        : { flags: ['--execution-provider', 'cuda'] },
  },
  { what: 'too short a `start-timeout`', set: () => ({ flags: ['--start-timeout', '1ms'] }) },
  {
    what: 'taken ports and a broken manifest at once',
    set: async (scope) => {
      const [address, httpAddress] = [await occupiedPort(scope), await occupiedPort(scope)];
      const { flags, masked } = spoilt(scope, nothing, (manifest) => {
        manifest.labels = [];
      });
      return {
        flags: ['--address', address, '--http-address', httpAddress, ...flags],
        masked: { ...masked, [address]: '127.0.0.1:PORT', [httpAddress]: '127.0.0.1:PORT' },
      };
    },
  },
];

describe('start-up problems', { concurrency: 2 }, () => {
  testRows('Start-up', startUps, async ({ set }, t) => {
    const setup = await set(t);
    if (typeof setup === 'string') {
      t.skip(setup);
      return null;
    }
    const { flags, masked = {}, ...options } = setup;
    const provider = flags.includes('--execution-provider') ? [] : ON_CPU;
    const server = ServerProcess.spawn(t, [...ONE_EACH, ...provider, ...flags], options);
    const { code } = await server.exited;
    assert(!server.lines.some(({ msg }) => msg === 'serving'));
    // Settings are read before there is a log; later problems are logged.
    const errors = server.lines
      .filter(({ level }) => level === 'error')
      .map(({ msg }) => String(msg));
    const printed = server.stderr.split('\n').filter((line) => line !== '');
    assert(errors.length === 0 || printed.length === 0, `told twice:\n${server.output}`);
    const mask = (line: string) =>
      Object.entries(masked)
        .reduce((text, [shown, placeholder]) => text.replaceAll(shown, placeholder), line)
        .replace(/\bvitserve-\d+-[0-9a-f]+\b/g, 'NAME');
    return [String(code), [...errors, ...printed].map(mask).join('\n')];
  });
});

test('a bad setting of the client command is reported in the same way', async (t) => {
  const { code, stderr } = await vitserve(t, ['classify', '--top-k', 'many', '--timeout', '0']);
  assert.equal(code, 2, PROGRAM);
  assert.match(
    stderr,
    /^vitserve: --top-k: invalid value "many": give .*\nvitserve: --timeout: invalid value "0": give .*\nvitserve: give at least one FILE: vitserve classify photo.jpg\n$/,
  );
});
