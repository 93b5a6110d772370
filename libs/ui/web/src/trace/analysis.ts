/** What is computed of a trace; a value a row, rows in preorder. Times in nanoseconds. */
export interface Input {
  parent: Int32Array;
  start: Float64Array;
  duration: Float64Array;
  name: Uint32Array;
  service: Uint32Array;
  flags: Uint8Array;
}

type Tree = Pick<Input, "parent" | "start" | "duration">;

export interface Shape {
  depth: Uint16Array;
  /** Rows of the span and all below it. */
  size: Uint32Array;
}

export interface Times {
  /** Time of a span in which none of its children ran. */
  self: Float64Array;
  /** Time of a span on the critical path of its trace, without that of its children. */
  critical: Float64Array;
  /** 1 for a span that does again what a sibling failed to do before it. */
  retry: Uint8Array;
}

/** Depths above are not told apart. */
const DEEPEST = 0xffff;

export function shape(parent: Int32Array): Shape {
  const depth = new Uint16Array(parent.length);
  const size = new Uint32Array(parent.length).fill(1);
  for (let row = 0; row < parent.length; row += 1) {
    if (parent[row] >= 0) depth[row] = Math.min(DEEPEST, depth[parent[row]] + 1);
  }
  for (let row = parent.length - 1; row > 0; row -= 1) {
    if (parent[row] >= 0) size[parent[row]] += size[row];
  }
  return { depth, size };
}

/** Children are ordered by start, so each part of a span that they cover is seen once. */
export function selfTimes({ parent, start, duration }: Tree): Float64Array {
  const self = Float64Array.from(duration, (time) => Math.max(0, time));
  const coveredTo = Float64Array.from(start);
  for (let row = 0; row < parent.length; row += 1) {
    const above = parent[row];
    if (above < 0) continue;
    const from = Math.max(start[row], coveredTo[above]);
    const to = Math.min(start[row] + duration[row], start[above] + duration[above]);
    if (to > from) {
      self[above] -= to - from;
      coveredTo[above] = to;
    }
  }
  return self.map((time) => Math.max(0, time));
}

/**
 * From the end of the longest root backwards: of each span the child that ended last, then the one that ended last before
 * that one started. What runs before or after its parent counts for the time of that.
 */
function criticalPath({ parent, start, duration }: Tree, { size }: Shape): Float64Array {
  const critical = new Float64Array(parent.length);
  let root = -1;
  for (let row = 0; row < parent.length; row += size[row]) {
    if (root < 0 || duration[row] > duration[root]) root = row;
  }
  if (root < 0) return critical;
  const waiting: [row: number, begin: number, end: number][] = [
    [root, start[root], start[root] + duration[root]],
  ];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [row, begin, end] = next;
    const children: [row: number, end: number][] = [];
    for (let child = row + 1; child < row + size[row]; child += size[child]) {
      children.push([child, Math.min(start[child] + duration[child], end)]);
    }
    children.sort((a, b) => b[1] - a[1] || start[b[0]] - start[a[0]]);
    let cursor = end;
    for (const [child, childEnd] of children) {
      const childStart = Math.max(start[child], begin);
      if (childEnd > cursor || childEnd <= childStart) continue;
      critical[row] += cursor - childEnd;
      waiting.push([child, childStart, childEnd]);
      cursor = childStart;
    }
    critical[row] += Math.max(0, cursor - begin);
  }
  return critical;
}

/** Marks siblings that start after one of the same service and name failed. Siblings are ordered by start. */
export function retries(
  { parent, start, duration, name, service, flags }: Input,
  { size }: Shape,
): Uint8Array {
  const retry = new Uint8Array(parent.length);
  // When the last sibling of an operation failed; the parents of siblings differ, so each has a map of its own.
  const failed = new Map<number, Map<string, number>>();
  for (let row = 0; row < parent.length; row += 1) {
    const above = parent[row];
    if (above < 0 || size[above] < 3) continue;
    const siblings = failed.get(above);
    const isError = flags[row] >> 3 === 2;
    if (!siblings && !isError) continue;
    const operation = `${service[row]} ${name[row]}`;
    const at = siblings?.get(operation);
    if (at !== undefined && start[row] >= at) retry[row] = 1;
    if (!isError) siblings?.delete(operation);
    else if (siblings) siblings.set(operation, start[row] + duration[row]);
    else failed.set(above, new Map([[operation, start[row] + duration[row]]]));
  }
  return retry;
}

export function times(input: Input): Times {
  const found = shape(input.parent);
  return { self: selfTimes(input), critical: criticalPath(input, found), retry: retries(input, found) };
}
