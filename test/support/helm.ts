/**
 * The chart as Helm renders it, if Helm is available. Nothing here reads YAML: a template that only
 * tests add includes every other one and has Helm turn it into JSON.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY, type Scope, temporaryFolder } from './scope.js';

export const CHART = join(REPOSITORY, 'helm/vitserve');
/**
 * The oldest of the three versions that the chart is checked against; a Helm that was built from
 * source takes itself for older.
 */
export const KUBERNETES_VERSIONS = ['1.30.0', '1.34.0', '1.37.0'] as const;

export const hasHelm = spawnSync('helm', ['version'], { stdio: 'ignore' }).status === 0;

/** The objects for Kubernetes: JSON that the tests reach into. */
// biome-ignore lint/suspicious/noExplicitAny: a wrong path fails the next assertion
export type Json = any;

export interface Rendered {
  /** By the template's path below templates/; templates that render nothing are absent. */
  readonly objects: ReadonlyMap<string, Json>;
  readonly values: Json;
}

export interface HelmRun {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Paths below templates/ of all that make an object. */
export function templates(): string[] {
  return readdirSync(join(CHART, 'templates'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.yaml'))
    .sort();
}

/** Feature by feature, the values that the chart is tested with. */
export function valuesFiles(): string[] {
  return readdirSync(join(CHART, 'ci')).sort();
}

export function helm(...args: readonly string[]): HelmRun {
  return spawnSync('helm', args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
}

const RENDERED = 'templates/rendered.yaml';

export class Chart {
  readonly #folder: string;

  /**
   * A copy of the chart with the template that collects the others. It is removed with the scope.
   */
  constructor(scope: Scope) {
    this.#folder = join(temporaryFolder(scope), 'vitserve');
    cpSync(CHART, this.#folder, { recursive: true });
    const documents = templates().map(
      (path) =>
        `{{- $_ := set $documents "${path}" (include (printf "%s/${path}" $.Template.BasePath) . | fromYaml) }}\n`,
    );
    const rendered = 'dict "kind" "Rendered" "documents" $documents "values" .Values';
    writeFileSync(
      join(this.#folder, RENDERED),
      `{{- $documents := dict }}\n${documents.join('')}{{ ${rendered} | toJson }}\n`,
    );
  }

  /**
   * `flags` are those of `helm template`, such as `--set`. The release is called `shop`, its
   * namespace `vision`.
   */
  run(flags: readonly string[], kubernetes: string = KUBERNETES_VERSIONS[1]): HelmRun {
    const fixed = ['--namespace', 'vision', '--kube-version', kubernetes, '--show-only', RENDERED];
    return helm('template', 'shop', this.#folder, ...fixed, ...flags);
  }

  render(flags: readonly string[] = [], kubernetes?: string): Rendered {
    const { status, stdout, stderr } = this.run(flags, kubernetes);
    const line = stdout.split('\n').find((each) => each.startsWith('{'));
    if (status !== 0 || line === undefined) throw new Error(stderr);
    const { documents, values } = JSON.parse(line) as {
      documents: Record<string, Json>;
      values: Json;
    };
    for (const [path, { Error: problem }] of Object.entries(documents)) {
      if (problem !== undefined) throw new Error(`${path}: ${problem}`);
    }
    return {
      objects: new Map(
        Object.entries(documents).filter(([, document]) => Object.keys(document).length > 0),
      ),
      values,
    };
  }

  /** With one of the chart's own ci/ files. */
  renderFile(file: string, kubernetes?: string): Rendered {
    return this.render(['--values', join(CHART, 'ci', file)], kubernetes);
  }
}
