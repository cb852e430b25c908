/**
 * The states of the server, in one place.
 *
 * `starting → serving → draining → stopped`, and `failed` from any of the first three. Whoever
 * shows a state to the world (health, `/readyz`, metrics, log) watches this object: ready is said
 * after it is true, and unready before it stops being true, because watchers are called before the
 * work that ends service begins.
 */

/**
 * - `starting`: addresses are bound, processes are being started and tried; calls are rejected
 *   with STARTING.
 * - `serving`: calls are answered.
 * - `draining`: asked to stop; health says NOT_SERVING, admitted calls are finished, after the
 *   drain delay new ones are refused.
 * - `stopped`: every admitted call was answered and every process has ended. Final.
 * - `failed`: could not start or go on. Final.
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

  /**
   * Moves on and tells every watcher. Throws on a transition that the table above does not have.
   */
  to(next: LifecycleState): void {
    if (!NEXT[this.#state].includes(next))
      throw new Error(`illegal lifecycle transition: ${this.#state} → ${next}`);
    this.#state = next;
    for (const watcher of [...this.#watchers]) watcher(next);
  }

  /** Calls `watcher` on every later transition. Returns the end of the watch. */
  watch(watcher: (state: LifecycleState) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}
