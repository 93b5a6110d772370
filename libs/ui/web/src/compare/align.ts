import type { Path } from "../trace/paths";

/** The same call in two traces; what one of them does not have is null. */
export interface Pair {
  a: Path | null;
  b: Path | null;
  depth: number;
  /** Own time and that of all below it, of B less that of A, in nanoseconds. */
  change: number;
  children: Pair[];
}

/** Lays the calls of two traces over each other, by service and name below the same callers. */
export function align(a: Path | null, b: Path | null, depth = 0): Pair {
  const keys = new Set([...(a?.children.keys() ?? []), ...(b?.children.keys() ?? [])]);
  const children = [...keys].map((key) =>
    align(a?.children.get(key) ?? null, b?.children.get(key) ?? null, depth + 1),
  );
  children.sort((x, y) => Math.abs(y.change) - Math.abs(x.change));
  return { a, b, depth, change: (b?.weight ?? 0) - (a?.weight ?? 0), children };
}

/** Pairs below the root, callers before what they call, at most `limit`; and how many are left out. */
export function flatten(root: Pair, limit: number): { pairs: Pair[]; hidden: number } {
  const pairs: Pair[] = [];
  let hidden = 0;
  const waiting = [...root.children].reverse();
  for (let pair = waiting.pop(); pair; pair = waiting.pop()) {
    if (pairs.length < limit) pairs.push(pair);
    else hidden += 1;
    for (let at = pair.children.length - 1; at >= 0; at -= 1) waiting.push(pair.children[at]);
  }
  return { pairs, hidden };
}
