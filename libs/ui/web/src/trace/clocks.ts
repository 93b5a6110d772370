import { type Skeleton, serviceOf } from "./skeleton";

/** What the address says of times that are not as they were sent. */
export const CORRECTED = "corrected";

/** What was done to the times of a trace. */
export interface Moved {
  spans: number;
  /** By service, nanoseconds by which a span of it was moved at most. */
  services: Map<string, number>;
}

/**
 * The trace as it may have been, where clocks of machines differ: a span of another service than its parent that begins
 * before that is moved into the middle of it, as if the way there took as long as the way back, or, where it is longer, to
 * its beginning; with it what is below it in its own service, whose clock is the same. Spans that end after their parents
 * stay: what is done later by somebody else does. Rows are in the order of the new times.
 */
export function corrected(trace: Skeleton): { trace: Skeleton; moved: Moved } {
  const { count, parent, service, duration } = trace;
  const start = Float64Array.from(trace.start);
  const shift = new Float64Array(count);
  const moved: Moved = { spans: 0, services: new Map() };
  let first = Infinity;
  for (let row = 0; row < count; row += 1) {
    const above = parent[row];
    if (above >= 0 && service[row] === service[above]) {
      shift[row] = shift[above];
    } else if (above >= 0 && start[row] < start[above]) {
      const spare = Math.max(0, duration[above] - Math.max(0, duration[row]));
      shift[row] = start[above] + spare / 2 - start[row];
    }
    start[row] += shift[row];
    first = Math.min(first, start[row]);
    if (shift[row] === 0) continue;
    const name = serviceOf(trace, row);
    moved.spans += 1;
    moved.services.set(name, Math.max(shift[row], moved.services.get(name) ?? 0));
  }
  if (moved.spans === 0) return { trace, moved };
  // The first span may have been one that was moved.
  const later = Math.round(first);
  for (let row = 0; row < count; row += 1) start[row] -= later;
  const { order, places, parents } = layout(parent, start);
  const by = <T extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(column: T): T => {
    const out = column.slice() as T;
    for (let row = 0; row < count; row += 1) out[row] = column[order[row]];
    return out;
  };
  const id = new Uint8Array(trace.id.length);
  for (let row = 0; row < count; row += 1) {
    id.set(trace.id.subarray(order[row] * 8, order[row] * 8 + 8), row * 8);
  }
  const ordered: Skeleton = {
    ...trace,
    begin: trace.begin + BigInt(later),
    start: by(start),
    duration: by(duration),
    id,
    parent: parents,
    name: by(trace.name),
    service: by(service),
    events: by(trace.events),
    links: by(trace.links),
    flags: by(trace.flags),
    places,
  };
  return { trace: ordered, moved };
}

/** Rows anew, children by start: which row each one was, where each went, and their parents. */
function layout(parent: Int32Array, start: Float64Array) {
  const count = parent.length;
  // Lists of children in one array, those without a parent first.
  const begin = new Int32Array(count + 2);
  for (let row = 0; row < count; row += 1) begin[parent[row] + 2] += 1;
  for (let at = 1; at < begin.length; at += 1) begin[at] += begin[at - 1];
  const free = begin.slice();
  const children = new Int32Array(count);
  for (let row = 0; row < count; row += 1) {
    const list = parent[row] + 1;
    children[free[list]] = row;
    free[list] += 1;
  }
  const sorted = (row: number) => {
    const list = children.subarray(begin[row + 1], begin[row + 2]);
    return list.sort((a, b) => start[a] - start[b] || a - b);
  };
  const order = new Int32Array(count);
  const places = new Int32Array(count);
  const parents = new Int32Array(count);
  const waiting: number[] = [...sorted(-1)].reverse();
  let next = 0;
  for (let row = waiting.pop(); row !== undefined; row = waiting.pop()) {
    order[next] = row;
    places[row] = next;
    parents[next] = parent[row] < 0 ? -1 : places[parent[row]];
    next += 1;
    const below = sorted(row);
    for (let at = below.length - 1; at >= 0; at -= 1) waiting.push(below[at]);
  }
  return { order, places, parents };
}

/** Whether {@link corrected} would move any span. */
export function canCorrect({ count, parent, service, start }: Skeleton): boolean {
  for (let row = 0; row < count; row += 1) {
    const above = parent[row];
    if (above >= 0 && start[row] < start[above] && service[row] !== service[above]) return true;
  }
  return false;
}
