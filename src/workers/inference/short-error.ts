/**
 * Shortens onnxruntime's errors to their message: source positions and signatures precede it, and a
 * repetition follows.
 */
export function shortError(message: string): string {
  const line = message.split('\n')[0] ?? '';
  return (/CUDA failure [^;]*|CUDNN failure [^;]*|Failed to .*/.exec(line)?.[0] ?? line)
    .trim()
    .slice(0, 300);
}
