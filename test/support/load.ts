/** Many concurrent calls, for tests of what happens meanwhile. */

/**
 * Calls `call` for 0, 1, 2, … from so many callers at a time until it was called `count` times;
 * results in that order.
 */
export async function underLoad<Result>(
  callers: number,
  count: number,
  call: (index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const caller = async () => {
    for (let index = next++; index < count; index = next++) results[index] = await call(index);
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return results;
}

/**
 * The same without an end: goes on until `stop`, which resolves with all results once the last call
 * has ended.
 */
export function continuousLoad<Result>(
  callers: number,
  call: (index: number) => Promise<Result>,
): { readonly results: readonly Result[]; stop(): Promise<readonly Result[]> } {
  const results: Result[] = [];
  let next = 0;
  let going = true;
  const caller = async () => {
    while (going) results.push(await call(next++));
  };
  const ended = Promise.all(Array.from({ length: callers }, caller));
  return {
    results,
    stop: async () => {
      going = false;
      await ended;
      return results;
    },
  };
}
