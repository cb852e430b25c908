/**
 * The CUDA 13 provider of the one onnxruntime version in package.json, by its hashes: whatever the
 * source of the wheel, only these bytes are installed. A new version of onnxruntime-node needs new
 * figures here, which a test checks:
 *
 *   pip download --no-deps --python-version 3.12 --platform manylinux_2_28_x86_64 --only-binary=:all: onnxruntime-gpu==VERSION
 *   unzip -p onnxruntime_gpu-*.whl 'onnxruntime/capi/libonnxruntime_providers_cuda.so' | sha256sum
 *
 * Wheels for other versions of Python hold other builds of the same library; one is enough.
 */
import type { ProviderFile } from '../../workers/inference/cuda/provider-place.js';

export const KNOWN_PROVIDER = {
  onnxruntime: '1.30.0',
  project: 'onnxruntime-gpu',
  wheel: 'onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl',
  /** Of the libraries in it, SHA-256 in lower-case hexadecimal. */
  hashes: {
    'libonnxruntime_providers_shared.so':
      '086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d',
    'libonnxruntime_providers_cuda.so':
      '35da2e7ed0dd0d1aec5cdb16ce11a51d06c0c48cf62d1b1c9332946a4fae14fc',
  } satisfies Record<ProviderFile, string>,
} as const;
