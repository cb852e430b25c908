/**
 * The states of the server, in one place.
 *
 * `starting → serving → draining → stopped`, and `failed` from any of the first three. All parts
 * that show a state (health, `/readyz`, metrics, log) watch this object. They say ready after the
 * server is ready, and unready before it stops, because watchers run before the drain begins.
 */

/**
 * - `starting`: binds addresses, starts and tests processes; rejects calls with STARTING.
 * - `serving`: answers calls.
 * - `draining`: health says NOT_SERVING; the server finishes admitted calls, and after the drain
 *   delay rejects new ones.
 * - `stopped`: every admitted call has ended, and every process. Final.
 * - `failed`: the server could not start. Final.
 */
export type LifecycleState = 'starting' | 'serving' | 'draining' | 'stopped' | 'failed';

const NEXT: Record<LifecycleState, readonly LifecycleState[]> = {
  starting: ['serving', 'draining', 'failed'],
  serving: ['draining', 'failed'],
  draining: ['stopped', 'failed'],
  stopped: [],
  failed: [],
};

export class Lifecycle {
  #state: LifecycleState = 'starting';
  readonly #watchers = new Set<(state: LifecycleState) => void>();

  get state(): LifecycleState {
    return this.#state;
  }

  /** Changes the state and calls every watcher. Throws on a transition that is not in NEXT. */
  to(next: LifecycleState): void {
    if (!NEXT[this.#state].includes(next))
      throw new Error(`illegal lifecycle transition: ${this.#state} → ${next}`);
    this.#state = next;
    for (const watcher of [...this.#watchers]) watcher(next);
  }

  /** Calls `watcher` on every later transition. Returns a function that ends the watch. */
  watch(watcher: (state: LifecycleState) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}
