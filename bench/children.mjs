// Programs in processes of their own that measure what they are asked to, all at the same time.
// Questions and answers are lines of JSON on standard input and output, so the programs may be in
// any language; the first line says ready.
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * Starts `count` of them. `hello` is what the first says of itself. `ask` resolves with the answers
 * of all.
 */
export async function startChildren(count, command, args) {
  const children = Array.from({ length: count }, () => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const read = async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${command} ${args.join(' ').slice(0, 200)} has ended`);
      return JSON.parse(value);
    };
    return { child, read };
  });
  const [hello] = await Promise.all(children.map(({ read }) => read()));
  return {
    hello,
    ask: (question) =>
      Promise.all(
        children.map(({ child, read }) => {
          child.stdin.write(`${JSON.stringify(question)}\n`);
          return read();
        }),
      ),
    end() {
      for (const { child } of children) child.stdin.end();
    },
  };
}

/** In such a program: answers questions until there are no more. */
export async function answerQuestions(hello, answer) {
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  say(hello);
  for await (const line of createInterface({ input: process.stdin }))
    say(await answer(JSON.parse(line)));
}

/** The project's Python (tools/.venv) or the system's, if it has these modules; otherwise null. */
export function pythonWith(modules) {
  const candidates = [
    fileURLToPath(new URL('../tools/.venv/bin/python', import.meta.url)),
    'python3',
  ];
  // Importing onnxruntime is enough for its telemetry.
  const options = { stdio: 'ignore', env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' } };
  const has = (python) =>
    spawnSync(python, ['-c', `import ${modules.join(', ')}`], options).status === 0;
  return candidates.find(has) ?? null;
}
