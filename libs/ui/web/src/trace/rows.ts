import { hasEnd, type Skeleton } from "./skeleton";

/** So many siblings alike, one after the other, are shown as one row until somebody opens them. */
const ALIKE = 5;

/** Siblings alike, one after the other. */
export interface Run {
  count: number;
  /** The row after the last span below the last of them. */
  end: number;
  /** The first start, and where the last of them ends. */
  from: number;
  to: number;
  shortest: number;
  longest: number;
  errors: number;
}

/** Runs of siblings alike, by the row of their first. What is said of one is worked out when it is shown. */
export class Runs {
  /** {@link Run.end} by the row of the first; 0 for a row that is not the first of a run. */
  readonly end: Uint32Array;
  readonly count: number;
  private readonly known = new Map<number, Run>();

  constructor(
    private readonly trace: Skeleton,
    private readonly size: Uint32Array,
  ) {
    this.end = new Uint32Array(trace.count);
    this.count = this.collect(0, trace.count);
    for (let row = 0; row < trace.count; row += 1) {
      if (size[row] > ALIKE) this.count += this.collect(row + 1, row + size[row]);
    }
  }

  /** The run of this first row. */
  at(first: number): Run | null {
    if (this.end[first] === 0) return null;
    let run = this.known.get(first);
    if (!run) {
      run = summary(this.trace, this.size, first, this.end[first]);
      this.known.set(first, run);
    }
    return run;
  }

  /** Notes the runs among the siblings from `begin` to before `end`; returns how many. */
  private collect(begin: number, end: number): number {
    const { name, service } = this.trace;
    let runs = 0;
    for (let first = begin; first < end; ) {
      let next = first;
      let count = 0;
      while (next < end && name[first] === name[next] && service[first] === service[next]) {
        next += this.size[next];
        count += 1;
      }
      if (count >= ALIKE) {
        this.end[first] = next;
        runs += 1;
      }
      first = next;
    }
    return runs;
  }
}

function summary(trace: Skeleton, size: Uint32Array, first: number, end: number): Run {
  const run = {
    count: 0,
    end,
    from: Infinity,
    to: -Infinity,
    shortest: Infinity,
    longest: -Infinity,
    errors: 0,
  };
  for (let row = first; row < end; row += size[row]) {
    const duration = trace.duration[row];
    run.count += 1;
    run.from = Math.min(run.from, trace.start[row]);
    if (trace.flags[row] >> 3 === 2) run.errors += 1;
    run.to = Math.max(run.to, trace.start[row]);
    if (!hasEnd(trace, row)) continue;
    run.to = Math.max(run.to, trace.start[row] + duration);
    run.shortest = Math.min(run.shortest, duration);
    run.longest = Math.max(run.longest, duration);
  }
  return run;
}

export interface Folds {
  /** Rows whose children are hidden. */
  folded: ReadonlySet<number>;
  /** Runs that are open, by their first row. */
  open: ReadonlySet<number>;
}

/**
 * What is shown, from top to bottom: a row, or `~first` for the line of a run. With `wanted` these rows alone and what is
 * above them, and no run.
 */
export function shownRows(
  size: Uint32Array,
  runs: Runs,
  { folded, open }: Folds,
  wanted?: Uint8Array,
): Int32Array {
  const shown = new Int32Array(size.length + runs.count);
  const anyFolded = folded.size > 0;
  let count = 0;
  for (let row = 0; row < size.length; ) {
    const end = wanted ? 0 : runs.end[row];
    if (end !== 0) {
      shown[count++] = ~row;
      if (!open.has(row)) {
        row = end;
        continue;
      }
    }
    if (wanted?.[row] !== 0) shown[count++] = row;
    row += anyFolded && folded.has(row) ? size[row] : 1;
  }
  return shown.subarray(0, count);
}

/** Rows right below the first ones that have others below them: folded, they leave an overview. */
export function secondRows(parent: Int32Array, size: Uint32Array): number[] {
  const rows: number[] = [];
  for (let row = 0; row < size.length; row += parent[row] < 0 ? 1 : size[row]) {
    if (parent[row] >= 0 && size[row] > 1) rows.push(row);
  }
  return rows;
}

/** Marks rows and all rows above them. */
export function withAncestors(parent: Int32Array, rows: Int32Array): Uint8Array {
  const marked = new Uint8Array(parent.length);
  for (const row of rows) {
    for (let above = row; above >= 0 && marked[above] === 0; above = parent[above]) marked[above] = 1;
  }
  return marked;
}

/** Marks rows among so many. */
export function marked(count: number, rows: Int32Array): Uint8Array {
  const marked = new Uint8Array(count);
  for (const row of rows) marked[row] = 1;
  return marked;
}

/** Where a row is shown; if it is folded away, where the line is that hides it. */
export function indexOf(shown: Int32Array, row: number): number {
  let low = 0;
  let high = shown.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const at = shown[middle];
    if ((at < 0 ? ~at : at) <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Folds as they must be for `row` to be seen; the same ones if they are so. */
export function revealed(trace: Skeleton, runs: Runs, size: Uint32Array, folds: Folds, row: number): Folds {
  const { folded, open } = folds;
  const still = new Set(folded);
  const opened = new Set(open);
  for (let at = row; at >= 0; at = trace.parent[at]) {
    if (at !== row) still.delete(at);
    const first = runStart(trace, runs, size, at);
    if (first >= 0) opened.add(first);
  }
  const isSame = still.size === folded.size && opened.size === open.size;
  return isSame ? folds : { folded: still, open: opened };
}

/** The first row of the run that a row is in, or -1. */
export function runStart(trace: Skeleton, runs: Runs, size: Uint32Array, row: number): number {
  if (runs.count === 0) return -1;
  const above = trace.parent[row];
  const end = above < 0 ? trace.count : above + size[above];
  for (let sibling = above + 1; sibling <= row && sibling < end; ) {
    const runEnd = runs.end[sibling];
    if (row < runEnd) return sibling;
    sibling = runEnd || sibling + size[sibling];
  }
  return -1;
}

/** Rows whose name, service or id has the text, in any case. */
export function find(trace: Skeleton, text: string): Int32Array {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return NO_ROWS;
  const has = (name: string) => name.toLowerCase().includes(wanted);
  const names = trace.names.map(has);
  const services = trace.services.map(has);
  const id = /^[0-9a-f]{16}$/.test(wanted) ? BigInt(`0x${wanted}`) : null;
  const ids = new DataView(trace.id.buffer, trace.id.byteOffset, trace.id.byteLength);
  const rows = new Int32Array(trace.count);
  let count = 0;
  for (let row = 0; row < trace.count; row += 1) {
    const isFound =
      names[trace.name[row]] ||
      services[trace.service[row]] ||
      (id !== null && ids.getBigUint64(row * 8) === id);
    if (isFound) rows[count++] = row;
  }
  return rows.slice(0, count);
}

/** No row. */
export const NO_ROWS = new Int32Array(0);

/** How many of ascending rows are before `row`. */
function countBefore(rows: Int32Array, row: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle] < row) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many of ascending rows are from `begin` to before `end`. */
export function countWithin(rows: Int32Array, begin: number, end: number): number {
  return countBefore(rows, end) - countBefore(rows, begin);
}

/** The first of ascending rows after `row`, or the last before it; from the other end where there is none. */
export function step(rows: Int32Array, row: number, forward: boolean): number {
  if (rows.length === 0) return -1;
  const low = countBefore(rows, forward ? row + 1 : row);
  if (forward) return rows[low === rows.length ? 0 : low];
  return rows[low === 0 ? rows.length - 1 : low - 1];
}
