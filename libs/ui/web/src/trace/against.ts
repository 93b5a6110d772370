import type { Marked } from "../partial";
import { addBelow, empty, type Path } from "./paths";

/** A call as traces alike make it; times in nanoseconds, of the traces that have it. */
export interface TypicalPath {
  /** Place of the caller in the list. */
  parent: number | null;
  service: string;
  name: string;
  traces: number;
  calls: number;
  errors: number;
  p50: number;
  p95: number;
  selfP50: number;
}

/** What traces alike are like. */
export interface Typical extends Marked {
  traces: number;
  inspectedBytes: number;
  duration: { p50: number; p95: number };
  paths: TypicalPath[];
}

/** The trees of calls below a path, as {@link pathsOf} makes them: those that half of the traces have, or more. */
export function typicalPaths(found: Typical): Path {
  const root = empty("", "");
  const made: (Path | null)[] = [];
  for (const { parent, service, name, traces, calls, errors, p50, selfP50 } of found.paths) {
    const above = parent === null ? root : made[parent];
    const isUsual = above !== null && traces * 2 >= found.traces;
    made.push(isUsual ? empty(service, name) : null);
    const path = made[made.length - 1];
    if (!path) continue;
    path.calls = Math.round(calls / traces);
    path.errors = Math.round(errors / traces);
    path.total = p50;
    path.self = selfP50;
    path.weight = selfP50;
    if (above) addBelow(above, `${service}\u0000${name}`, path);
  }
  // Callers come first.
  for (let at = made.length - 1; at >= 0; at -= 1) {
    const { parent } = found.paths[at];
    const path = made[at];
    const above = parent === null ? root : made[parent];
    if (path && above) above.weight += path.weight;
  }
  return root;
}

/** A call of a trace beside what is usual for it. */
export interface Against<P = Path> {
  service: string;
  name: string;
  depth: number;
  /** Null where the trace does not make the call. */
  path: P | null;
  /** Null where no trace alike makes it. */
  usual: TypicalPath | null;
  /** Nanoseconds that the call takes more than in the middle of the traces alike. */
  more: number;
}

/** Calls of a trace and of those alike; what takes most time more comes first. A call that is missing counts if half of them have it. */
export function against(paths: Path, found: Typical): Against[] {
  const children = new Map<number | null, Map<string, number>>();
  for (const [at, { parent, service, name }] of found.paths.entries()) {
    const siblings = children.get(parent) ?? new Map<string, number>();
    children.set(parent, siblings.set(`${service}\u0000${name}`, at));
  }
  const all: Against[] = [];
  const waiting: [path: Path | null, usual: number | null | undefined, depth: number][] = [[paths, null, 0]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [path, at, depth] = next;
    const usual = at === undefined ? undefined : children.get(at);
    const keys = new Set([...(path?.children.keys() ?? []), ...(usual?.keys() ?? [])]);
    for (const key of keys) {
      const below = path?.children.get(key) ?? null;
      const place = usual?.get(key);
      const known = place === undefined ? null : found.paths[place];
      const isUsual = known !== null && known.traces * 2 >= found.traces;
      if (!below && !isUsual) continue;
      const [service, name] = key.split("\u0000");
      const more = (below?.total ?? 0) - (isUsual ? known.p50 : 0);
      all.push({ service, name, depth, path: below, usual: known, more });
      waiting.push([below, place, depth + 1]);
    }
  }
  return all.sort((a, b) => Math.abs(b.more) - Math.abs(a.more));
}
