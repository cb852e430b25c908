/**
 * Programs in processes of their own that measure what they are asked to, all at the same time.
 *
 * Questions and answers are lines of JSON on standard input and output, so a program may be in any
 * language. What it says first is its greeting.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Children<Greeting, Question, Answer> {
  /** Of the first. */
  readonly greeting: Greeting;
  /** The answers of all. */
  readonly ask: (question: Question) => Promise<Answer[]>;
  readonly end: () => void;
}

export async function startChildren<Greeting, Question, Answer>(
  count: number,
  command: string,
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Children<Greeting, Question, Answer>> {
  const children = Array.from({ length: count }, () => {
    const child = spawn(command, argv, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const read = async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${command} ${argv.join(' ').slice(0, 200)} has ended`);
      return JSON.parse(value);
    };
    return { child, read };
  });
  const [greeting] = await Promise.all(children.map(({ read }) => read()));
  return {
    greeting,
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

/** Of this folder's `children/`; `spec` is what the program needs to know. */
export function ownChild(name: string, spec: unknown = null): [command: string, argv: string[]] {
  const path = fileURLToPath(new URL(`../children/${name}.js`, import.meta.url));
  return [process.execPath, [path, JSON.stringify(spec)]];
}

/** In such a program: what it was started with. */
export function specOf<Spec>(): Spec {
  return JSON.parse(process.argv[2] ?? 'null');
}

/** In such a program: answers questions until there are no more. */
export async function answerQuestions<Question>(
  greeting: unknown,
  answer: (question: Question) => unknown,
): Promise<void> {
  const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  say(greeting);
  for await (const line of createInterface({ input: process.stdin }))
    say(await answer(JSON.parse(line)));
}
