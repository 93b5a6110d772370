import { isError, type Skeleton } from "./skeleton";

/** Spans of one service and name with the same path of callers, added up. Times in nanoseconds. */
export interface Path {
  service: string;
  name: string;
  calls: number;
  errors: number;
  total: number;
  self: number;
  /** Own time of these spans and of all below them: never more than that of the path above. */
  weight: number;
  /** The row of the longest. */
  longest: number;
  children: ReadonlyMap<string, Path>;
}

/** What one path is, without what is below it. */
export type Call = Omit<Path, "children">;

/** Below calls that call nothing. Large traces have a million of these. */
const NONE: ReadonlyMap<string, Path> = new Map();

export function callOf({ children: _, ...call }: Path): Call {
  return call;
}

/** A path that nothing was added to. */
export function empty(service: string, name: string): Path {
  return {
    service,
    name,
    calls: 0,
    errors: 0,
    total: 0,
    self: 0,
    weight: 0,
    longest: -1,
    children: NONE,
  };
}

/** Puts a path below another. */
export function addBelow(above: Path, key: string, path: Path) {
  if (above.children === NONE) above.children = new Map();
  (above.children as Map<string, Path>).set(key, path);
}

/** The calls of a trace as a tree in which the same call of the same caller is there once. The root stands for the trace. */
export function pathsOf(trace: Skeleton, self: Float64Array): Path {
  const root = empty("", "");
  const operations = trace.names.length;
  const keys = new Map<number, string>();
  const paths = new Array<Path>(trace.count);
  for (let row = 0; row < trace.count; row += 1) {
    const above = trace.parent[row] < 0 ? root : paths[trace.parent[row]];
    const operation = trace.service[row] * operations + trace.name[row];
    let key = keys.get(operation);
    if (key === undefined) {
      key = keyOf(trace, row);
      keys.set(operation, key);
    }
    let path = above.children.get(key);
    if (!path) {
      path = empty(trace.services[trace.service[row]], trace.names[trace.name[row]]);
      addBelow(above, key, path);
    }
    paths[row] = path;
    add(path, trace, row, self[row]);
  }
  // Rows below come after their parents.
  const weights = Float64Array.from(self);
  for (let row = trace.count - 1; row >= 0; row -= 1) {
    paths[row].weight += weights[row];
    if (trace.parent[row] >= 0) weights[trace.parent[row]] += weights[row];
    else root.weight += weights[row];
  }
  return root;
}

function keyOf(trace: Skeleton, row: number): string {
  return `${trace.services[trace.service[row]]}\u0000${trace.names[trace.name[row]]}`;
}

/** The path below a root that a row belongs to; null for another trace's. */
export function pathOf(root: Path, trace: Skeleton, row: number): Path | null {
  const above: number[] = [];
  for (let at = row; at >= 0; at = trace.parent[at]) above.push(at);
  let path: Path | undefined = root;
  for (const at of above.reverse()) path = path?.children.get(keyOf(trace, at));
  return path ?? null;
}

function add(path: Path, trace: Skeleton, row: number, self: number) {
  const duration = Math.max(0, trace.duration[row]);
  path.calls += 1;
  path.total += duration;
  path.self += self;
  if (isError(trace, row)) path.errors += 1;
  if (path.longest < 0 || duration > trace.duration[path.longest]) path.longest = row;
}

/** As {@link pathsOf}, by service and name alone. */
export function operationsOf(trace: Skeleton, self: Float64Array): Path[] {
  const found = new Map<number, Path>();
  for (let row = 0; row < trace.count; row += 1) {
    const key = trace.service[row] * trace.names.length + trace.name[row];
    let path = found.get(key);
    if (!path) {
      path = empty(trace.services[trace.service[row]], trace.names[trace.name[row]]);
      found.set(key, path);
    }
    add(path, trace, row, self[row]);
  }
  return [...found.values()];
}
