/**
 * The waiting images, the smallest scheduling deadline first, equal ones in order of arrival.
 *
 * Adding an image, taking the first, removing any other, and counting those before a new one take
 * O(log n). The count is why this is a tree, not a heap: every arriving image needs it, and with
 * ten thousand waiting a linear count would cost more than the rest of a call. It is a treap: a
 * search tree by scheduling deadline and arrival, balanced by random heights (Seidel and Aragon,
 * "Randomized search trees", 1996).
 */

export interface Ordered {
  readonly schedulingDeadline: number;
  /** Of arrival, unique. */
  readonly order: number;
}

interface Node<Entry> {
  readonly entry: Entry;
  /** Random; no node lies below one with a lower height. */
  readonly height: number;
  before: Tree<Entry>;
  after: Tree<Entry>;
  size: number;
}

type Tree<Entry> = Node<Entry> | null;

export class DeadlineQueue<Entry extends Ordered> {
  #root: Tree<Entry> = null;

  get size(): number {
    return sizeOf(this.#root);
  }

  get first(): Entry | undefined {
    let node = this.#root;
    while (node?.before) node = node.before;
    return node?.entry;
  }

  add(entry: Entry): void {
    const node = { entry, height: Math.random(), before: null, after: null, size: 1 };
    const [before, after] = split(this.#root, entry);
    this.#root = join(join(before, node), after);
  }

  /** Removes an image. Returns whether it was in the queue. */
  delete(entry: Entry): boolean {
    const size = this.size;
    this.#root = without(this.#root, entry);
    return this.size < size;
  }

  /** Removes and returns the first image. */
  shift(): Entry | undefined {
    const { first } = this;
    if (first !== undefined) this.#root = without(this.#root, first);
    return first;
  }

  /** How many images go before one with this scheduling deadline that arrives now. */
  countBefore(schedulingDeadline: number): number {
    let count = 0;
    for (let node = this.#root; node !== null; ) {
      if (node.entry.schedulingDeadline > schedulingDeadline) node = node.before;
      else {
        count += sizeOf(node.before) + 1;
        node = node.after;
      }
    }
    return count;
  }
}

function sizeOf(tree: Tree<unknown>): number {
  return tree?.size ?? 0;
}

function sized<Entry>(node: Node<Entry>): Node<Entry> {
  node.size = sizeOf(node.before) + 1 + sizeOf(node.after);
  return node;
}

function isBefore(one: Ordered, other: Ordered): boolean {
  return one.schedulingDeadline === other.schedulingDeadline
    ? one.order < other.order
    : one.schedulingDeadline < other.schedulingDeadline;
}

/** The part that goes before `entry`, and the rest. */
function split<Entry extends Ordered>(tree: Tree<Entry>, entry: Entry): [Tree<Entry>, Tree<Entry>] {
  if (tree === null) return [null, null];
  if (isBefore(tree.entry, entry)) {
    const [before, after] = split(tree.after, entry);
    tree.after = before;
    return [sized(tree), after];
  }
  const [before, after] = split(tree.before, entry);
  tree.before = after;
  return [before, sized(tree)];
}

/** Joins two trees, where all of the first goes before the second. */
function join<Entry>(one: Tree<Entry>, other: Tree<Entry>): Tree<Entry> {
  if (one === null || other === null) return one ?? other;
  if (one.height > other.height) {
    one.after = join(one.after, other);
    return sized(one);
  }
  other.before = join(one, other.before);
  return sized(other);
}

function without<Entry extends Ordered>(tree: Tree<Entry>, entry: Entry): Tree<Entry> {
  if (tree === null) return null;
  if (tree.entry === entry) return join(tree.before, tree.after);
  if (isBefore(entry, tree.entry)) tree.before = without(tree.before, entry);
  else tree.after = without(tree.after, entry);
  return sized(tree);
}
