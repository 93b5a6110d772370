import { type Call, callOf, type Path } from "../trace/paths";

/** The same call in two traces; what one of them does not have is null. */
export interface Pair {
  a: Path | null;
  b: Path | null;
  depth: number;
  /** Time of these calls, of B less that of A, in nanoseconds. */
  change: number;
  children: Pair[];
}

/** Lays the calls of two traces over each other, by service and name below the same callers. */
export function align(a: Path | null, b: Path | null): Pair {
  const root = pairOf(a, b, 0);
  const waiting = [root];
  for (let pair = waiting.pop(); pair; pair = waiting.pop()) {
    const { a, b, depth, children } = pair;
    for (const [key, path] of a?.children ?? []) {
      children.push(pairOf(path, b?.children.get(key) ?? null, depth + 1));
    }
    for (const [key, path] of b?.children ?? []) {
      if (!a?.children.has(key)) children.push(pairOf(null, path, depth + 1));
    }
    children.sort((x, y) => Math.abs(y.change) - Math.abs(x.change));
    for (const child of children) waiting.push(child);
  }
  return root;
}

function pairOf(a: Path | null, b: Path | null, depth: number): Pair {
  return { a, b, depth, change: (b?.total ?? 0) - (a?.total ?? 0), children: [] };
}

/** Pairs below the root that are wanted, callers before what they call, at most `limit`; and how many are left out. */
export function flatten(
  root: Pair,
  limit: number,
  isWanted = (_: Pair) => true,
): { pairs: Pair[]; hidden: number } {
  const pairs: Pair[] = [];
  let hidden = 0;
  const waiting = [...root.children].reverse();
  for (let pair = waiting.pop(); pair; pair = waiting.pop()) {
    if (isWanted(pair)) {
      if (pairs.length < limit) pairs.push(pair);
      else hidden += 1;
    }
    for (let at = pair.children.length - 1; at >= 0; at -= 1) waiting.push(pair.children[at]);
  }
  return { pairs, hidden };
}

/** A call that is shown of both traces. */
export interface ShownPair {
  a: Call | null;
  b: Call | null;
  depth: number;
  change: number;
}

/** Calls of two traces. */
export interface Calls {
  pairs: ShownPair[];
  /** Calls that are left out. */
  hidden: number;
}

/** What is shown of two traces: all calls, and those that only one of them makes. */
export interface Comparison {
  all: Calls;
  only: Calls;
}

/** Calls that are shown. */
const SHOWN = 500;

export function compared(a: Path, b: Path): Comparison {
  const root = align(a, b);
  return { all: shown(root), only: shown(root, ({ a, b }) => !a || !b) };
}

function shown(root: Pair, isWanted?: (pair: Pair) => boolean): Calls {
  const { pairs, hidden } = flatten(root, SHOWN, isWanted);
  const calls = pairs.map(({ a, b, depth, change }) => ({
    a: a && callOf(a),
    b: b && callOf(b),
    depth,
    change,
  }));
  return { pairs: calls, hidden };
}
