/**
 * Which graph of a folder is meant, and which files beside it describe it. Pure: works on a list of
 * file names.
 *
 * Known layouts: Hugging Face optimum (`model.onnx`, `config.json`, `preprocessor_config.json`),
 * transformers.js and onnx-community (the same with `onnx/model*.onnx`; variant names in
 * transformers.js `src/utils/dtypes.js`), timm (`config.json` with `pretrained_cfg`), and a file
 * with nothing beside it (torchvision, torch.onnx).
 */

export interface SourceFiles {
  /** Relative to the folder. */
  readonly graph: string;
  readonly config: string | null;
  readonly preprocessor: string | null;
  /** The model card: `README.md`, whose front matter names the licence. */
  readonly card: string | null;
}

export interface SourceRequest {
  /** A file of the folder if the user named one; null: the user named the folder. */
  readonly file: string | null;
  /** `--variant`: `fp16` means `model_fp16.onnx`. */
  readonly variant: string | null;
}

const CHECKPOINT = /\.(safetensors|bin|pth|pt|npz)$/;

/**
 * `files`: paths relative to the folder, those of `onnx/` included. Returns what was found or the
 * problem.
 */
export function findSourceFiles(
  files: readonly string[],
  { file, variant }: SourceRequest,
): SourceFiles | { problem: string } {
  const graph =
    file === null
      ? findGraph(files, variant)
      : variant === null
        ? file
        : { problem: VARIANT_OF_FILE };
  if (typeof graph !== 'string') return graph;
  const beside = (name: string) => (files.includes(name) ? name : null);
  return {
    graph,
    config: beside('config.json'),
    preprocessor: beside('preprocessor_config.json'),
    card: beside('README.md'),
  };
}

const VARIANT_OF_FILE =
  '--variant chooses among the files of a folder: give the folder, or leave out --variant';

function findGraph(files: readonly string[], variant: string | null): string | { problem: string } {
  const graphs = files.filter((name) => /^(onnx\/)?[^/]+\.onnx$/.test(name));
  if (graphs.length === 0) {
    const checkpoint = files.find((name) => CHECKPOINT.test(name));
    const hint =
      checkpoint === undefined
        ? 'give a folder with one, or the file'
        : `use "vitserve convert" for ${checkpoint}`;
    return { problem: `it has no .onnx file: ${hint}` };
  }
  const names = variant === null ? ['model.onnx'] : [`model_${variant}.onnx`, `${variant}.onnx`];
  const meant = names
    .flatMap((name) => [name, `onnx/${name}`])
    .find((name) => graphs.includes(name));
  if (meant !== undefined) return meant;
  if (variant !== null)
    return { problem: `it has no variant "${variant}" (${names[0]}), only ${graphs.join(', ')}` };
  const [only, ...others] = graphs;
  if (only !== undefined && others.length === 0) return only;
  return {
    problem: `it has ${graphs.length} graphs but no model.onnx: give one of the files (${graphs.join(', ')})`,
  };
}
