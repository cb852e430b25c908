/**
 * onnxruntime's errors, down to what they say: source positions and signatures stand before it, the
 * same again behind.
 */
export function shortError(message: string): string {
  const line = message.split('\n')[0] ?? '';
  return (/CUDA failure [^;]*|CUDNN failure [^;]*|Failed to .*/.exec(line)?.[0] ?? line)
    .trim()
    .slice(0, 300);
}
