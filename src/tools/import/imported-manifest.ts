/**
 * The manifest of an imported model: the form in which it is served, what was recognised, and its
 * origin.
 */
import { basename } from 'node:path';
import type { ImportSettings } from '../../cli/import-options.js';
import type { Manifest } from '../../models/manifest.js';
import type { RecognizedModel } from '../../models/sources/recognize.js';
import { hashFile } from '../../models/weights.js';
import type { ModelProto } from '../../onnx/proto/model-proto.js';
import type { Source } from './read-source.js';
import type { ServingForm } from './serving-form.js';

/** `pytorch 2.15.0`; empty if the file does not say. */
export function producerOf({ producerName, producerVersion }: ModelProto): string {
  return `${producerName} ${producerVersion}`.trim();
}

/** `ai.onnx 17, com.microsoft 1`. */
export function operatorSetsOf({ opsetImport }: ModelProto): string {
  return opsetImport.map(({ domain, version }) => `${domain || 'ai.onnx'} ${version}`).join(', ');
}

export async function importedManifest(
  {
    settings,
    source,
    model,
    recognized,
    version,
  }: {
    readonly settings: ImportSettings;
    readonly source: Source;
    /** As it was read. */
    readonly model: ModelProto;
    readonly recognized: RecognizedModel;
    /** Of vitserve. */
    readonly version: string;
  },
  form: ServingForm,
  graph: Manifest['graph'],
): Promise<Manifest> {
  const file = basename(source.graphPath);
  const { architecture } = source.evidence.config ?? {};
  return {
    formatVersion: 1,
    description:
      settings.description ?? `${architecture ?? 'An image classifier'}, imported from ${file}.`,
    license: settings.license ?? source.license ?? 'unknown',
    provenance: {
      importedFrom: file,
      sha256: await hashFile(source.graphPath),
      producer: producerOf(model) || 'unknown',
      opset: operatorSetsOf(model),
      importedBy: `vitserve ${version}`,
    },
    graph,
    ...form.manifest,
    labels: [...recognized.labels],
    // Until the check has shown otherwise.
    batchInvariant: false,
  };
}
