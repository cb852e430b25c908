/**
 * What both readers of checkpoints share: parts of a model by name, and a list of what does not
 * fit.
 */
import type { TensorSource } from '../proto/safetensors.js';
import type { Dense, Norm } from './architecture.js';

/** Tensor names and their required shapes. */
export type ExpectedTensors = Map<string, readonly number[]>;

/** `NAME.weight` [outputs, inputs…] and, if the checkpoint has it, `NAME.bias`. */
export function expectDense(
  expected: ExpectedTensors,
  source: TensorSource,
  name: string,
  shape: readonly number[],
): void {
  expected.set(`${name}.weight`, shape);
  if (source.shapeOf(`${name}.bias`) !== undefined) expected.set(`${name}.bias`, shape.slice(0, 1));
}

export function expectNorm(expected: ExpectedTensors, name: string, hidden: number): void {
  expected.set(`${name}.weight`, [hidden]);
  expected.set(`${name}.bias`, [hidden]);
}

export function readDense(source: TensorSource, name: string): Dense {
  const bias = source.shapeOf(`${name}.bias`) === undefined ? null : source.read(`${name}.bias`);
  return { weight: source.read(`${name}.weight`), bias };
}

export function readNorm(source: TensorSource, name: string): Norm {
  return { scale: source.read(`${name}.weight`), shift: source.read(`${name}.bias`) };
}

/**
 * Missing tensors, wrong shapes, and unknown tensors: leaving out a part of the model silently
 * would make wrong answers. `ignored` matches what a classifier does not need.
 */
export function tensorProblems(
  source: TensorSource,
  expected: ExpectedTensors,
  ignored: RegExp,
): string[] {
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const found = source.shapeOf(name);
    const wanted = `[${shape.join(', ')}]`;
    if (found === undefined) problems.push(`tensor ${name} ${wanted} is missing`);
    else if (`[${found.join(', ')}]` !== wanted) {
      problems.push(`tensor ${name} is [${found.join(', ')}], config.json makes it ${wanted}`);
    }
  }
  const unknown = source.names.filter((name) => !expected.has(name) && !ignored.test(name));
  if (unknown.length > 0) {
    const shown =
      unknown.slice(0, 5).join(', ') +
      (unknown.length > 5 ? ` and ${unknown.length - 5} more` : '');
    problems.push(
      `the model has parts that vitserve does not know: ${shown}; ` +
        'export it to ONNX and use vitserve import',
    );
  }
  // In a model of another size all shapes are wrong; the first few show that.
  const SHOWN = 12;
  return problems.length <= SHOWN
    ? problems
    : [...problems.slice(0, SHOWN), `and ${problems.length - SHOWN} more`];
}
