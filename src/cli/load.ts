/**
 * Settings from flags, environment and config file, in this order of precedence, over the defaults
 * of the option table.
 *
 * The result is either complete settings, or one `SetupError('usage')` that lists every problem,
 * one line each: an operator should not have to start the server once per mistake. A value that a
 * stronger source overrides is checked too, since it would surface when the stronger source is
 * removed.
 */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { SetupError } from '../errors.js';
import type { BenchSettings } from './bench-options.js';
import { COMMANDS, type CommandName } from './commands.js';
import { jsonToText, readConfigFile } from './config-file.js';
import { contradictions, unpairedKey } from './contradictions.js';
import { type ConvertSettings, convertProblems } from './convert-options.js';
import { type Environment, readEnvironment } from './environment.js';
import type { EvaluateSettings } from './evaluate-options.js';
import { readCommandLine } from './flags.js';
import { type GivenValue, type OptionSource, oneLine, quote } from './given.js';
import type { ImportSettings } from './import-options.js';
import type { InspectSettings } from './inspect-options.js';
import type { InstallCudaSettings } from './install-cuda-options.js';
import type { OptionRow } from './option.js';
import type { QuantizeSettings } from './quantize-options.js';
import type { ClassifySettings, ServeSettings } from './settings.js';

export interface Loaded<Settings> {
  readonly settings: Settings;
  /** Where each setting comes from. */
  readonly sources: { readonly [Property in keyof Settings]: OptionSource };
  /** Every value that was set, in the order of the table and as text: for the start-up log. */
  readonly changes: readonly {
    readonly name: string;
    readonly value: string;
    readonly source: OptionSource;
  }[];
}

export interface LoadSurroundings {
  /** Relative paths are resolved against this folder. */
  readonly cwd: string;
  readFile(path: string): string;
}

const REAL_SURROUNDINGS: LoadSurroundings = {
  get cwd() {
    return process.cwd();
  },
  readFile: (path) => readFileSync(path, 'utf8'),
};

/** `argv` is what follows `vitserve serve`. */
export function loadServeSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<ServeSettings> {
  const { loaded, unreadable, problems } = load<ServeSettings>('serve', argv, env, surroundings);
  problems.push(...contradictions(loaded.settings, unreadable));
  if (problems.length > 0) throw new SetupError('usage', problems);
  return loaded;
}

/**
 * `argv` is what follows `vitserve classify`. `files` are the paths as they were written, at least
 * one.
 */
export function loadClassifySettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<ClassifySettings> & { readonly files: readonly string[] } {
  const { loaded, positionals, problems } = load<ClassifySettings>(
    'classify',
    argv,
    env,
    surroundings,
  );
  if (positionals.length === 0)
    problems.push('give at least one FILE: vitserve classify photo.jpg');
  const unpaired = unpairedKey(loaded.settings);
  if (unpaired !== undefined) problems.push(unpaired);
  if (problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, files: positionals };
}

/** `argv` is what follows `vitserve import`. `source` is the folder or file as it was written. */
export function loadImportSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<ImportSettings> & { readonly source: string } {
  const { loaded, positionals, problems } = load<ImportSettings>('import', argv, env, surroundings);
  const [source] = positionals;
  if (positionals.length !== 1) problems.push('give one FOLDER or FILE: vitserve import FOLDER');
  if (source === undefined || problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, source };
}

/** `argv` is what follows `vitserve quantize`. `folder` is the model's folder as it was written. */
export function loadQuantizeSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<QuantizeSettings> & { readonly folder: string } {
  const { loaded, positionals, problems } = load<QuantizeSettings>(
    'quantize',
    argv,
    env,
    surroundings,
  );
  const [folder] = positionals;
  if (positionals.length !== 1)
    problems.push('give one MODEL_FOLDER: vitserve quantize models/NAME/1');
  if (loaded.settings.head && loaded.settings.dtype !== 'int8')
    problems.push('head needs dtype int8');
  if (loaded.settings.weightBits === '8' && loaded.settings.dtype !== 'int8') {
    problems.push('weight-bits 8 needs dtype int8');
  }
  if (folder === undefined || problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, folder };
}

/**
 * `argv` is what follows `vitserve evaluate`. `folder` is the model's, `data` the labelled images,
 * both as they were written.
 */
export function loadEvaluateSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<EvaluateSettings> & { readonly folder: string; readonly data: string } {
  const { loaded, positionals, problems } = load<EvaluateSettings>(
    'evaluate',
    argv,
    env,
    surroundings,
  );
  const [folder, data] = positionals;
  if (positionals.length !== 2)
    problems.push('give a MODEL_FOLDER and DATA: vitserve evaluate models/NAME/1 labelled-images');
  if (folder === undefined || data === undefined || problems.length > 0)
    throw new SetupError('usage', problems);
  return { ...loaded, folder, data };
}

/**
 * `argv` is what follows `vitserve inspect`. `path` is the folder or file as it was written, null
 * with `live`.
 */
export function loadInspectSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<InspectSettings> & { readonly path: string | null } {
  const { loaded, positionals, problems } = load<InspectSettings>(
    'inspect',
    argv,
    env,
    surroundings,
  );
  const { live, providers } = loaded.settings;
  if (live && positionals.length > 0)
    problems.push('live asks a running server: leave out live, or MODEL_FOLDER and FILE');
  if (live && providers)
    problems.push('providers needs a MODEL_FOLDER or FILE: leave out live or providers');
  if (!live && positionals.length !== 1)
    problems.push('give one MODEL_FOLDER or FILE, or --live: vitserve inspect models/NAME/1');
  if (problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, path: positionals[0] ?? null };
}

/** `argv` is what follows `vitserve install-cuda`. */
export function loadInstallCudaSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<InstallCudaSettings> {
  const { loaded, positionals, problems } = load<InstallCudaSettings>(
    'install-cuda',
    argv,
    env,
    surroundings,
  );
  const { cuda, from, into } = loaded.settings;
  if (positionals.length > 0)
    problems.push(
      `unexpected argument ${quote(positionals[0])}: vitserve install-cuda takes flags only`,
    );
  if (cuda === '12' && from === null && into !== null) {
    problems.push(
      "into needs from with cuda 12: onnxruntime-node's own installer can't write elsewhere",
    );
  }
  if (problems.length > 0) throw new SetupError('usage', problems);
  return loaded;
}

/**
 * `argv` is what follows `vitserve convert`. `source` is the checkpoint as it was written, null
 * with `random`.
 */
export function loadConvertSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<ConvertSettings> & { readonly source: string | null } {
  const { loaded, positionals, problems } = load<ConvertSettings>(
    'convert',
    argv,
    env,
    surroundings,
  );
  problems.push(...convertProblems(loaded.settings, positionals));
  if (problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, source: positionals[0] ?? null };
}

/**
 * `argv` is what follows `vitserve bench`. `paths` are files and folders as they were written,
 * possibly none.
 */
export function loadBenchSettings(
  argv: readonly string[],
  env: Environment,
  surroundings: LoadSurroundings = REAL_SURROUNDINGS,
): Loaded<BenchSettings> & { readonly paths: readonly string[] } {
  const { loaded, positionals, problems } = load<BenchSettings>('bench', argv, env, surroundings);
  const unpaired = unpairedKey(loaded.settings);
  if (unpaired !== undefined) problems.push(unpaired);
  if (problems.length > 0) throw new SetupError('usage', problems);
  return { ...loaded, paths: positionals };
}

interface Loading<Settings> {
  /**
   * Complete, but valid only without problems: a value that can't be read is replaced by its
   * default.
   */
  readonly loaded: Loaded<Settings>;
  readonly unreadable: ReadonlySet<string>;
  readonly positionals: readonly string[];
  readonly problems: string[];
}

function load<Settings>(
  command: CommandName,
  argv: readonly string[],
  env: Environment,
  { cwd, readFile }: LoadSurroundings,
): Loading<Settings> {
  const { options } = COMMANDS[command];
  const commandLine = readCommandLine(command, options, argv, command !== 'serve');
  const environment = readEnvironment(command, options, env);
  const problems = [...commandLine.problems, ...environment.problems];
  const given = [...commandLine.given, ...environment.given];

  const named = given.find(
    ({ option, value }) =>
      option.name === 'config' && option.type.parse(String(value)) !== undefined,
  );
  if (named !== undefined) {
    const written = String(named.value);
    const file = { path: resolve(cwd, written), label: oneLine(written), namedBy: named.where };
    const content = readConfigFile(options, file, readFile);
    given.push(...content.given);
    problems.push(...content.problems);
  }

  // `given` is in order of precedence, so the first value of an option counts.
  const values = new Map<
    OptionRow,
    Pick<GivenValue, 'source'> & { readonly value: NonNullable<unknown> }
  >();
  const unreadable = new Set<string>();
  for (const one of given) {
    const value = read(one, cwd);
    if (value === undefined) {
      problems.push(
        `${one.where}: invalid value ${quote(one.value)}: give ${one.option.type.accepts}`,
      );
      unreadable.add(one.option.property);
    } else if (!values.has(one.option)) values.set(one.option, { value, source: one.source });
  }

  const settings: Record<string, unknown> = {};
  const sources: Record<string, OptionSource> = {};
  const changes: Loaded<Settings>['changes'][number][] = [];
  for (const option of options) {
    const set = values.get(option);
    settings[option.property] = set === undefined ? option.default : set.value;
    sources[option.property] = set?.source ?? 'default';
    if (set !== undefined) {
      changes.push({ name: option.name, value: option.type.format(set.value), source: set.source });
    }
  }
  // The one cast: the table's type says that its rows read exactly the properties of the settings.
  const loaded = { settings, sources, changes } as unknown as Loaded<Settings>;
  return { loaded, unreadable, positionals: commandLine.positionals, problems };
}

function read(
  { option, source, value }: GivenValue,
  cwd: string,
): NonNullable<unknown> | undefined {
  const text = source === 'file' ? jsonToText(option, value) : String(value);
  const parsed = text === undefined ? undefined : option.type.parse(text);
  return typeof parsed === 'string' && option.type.kind === 'path' ? resolve(cwd, parsed) : parsed;
}
