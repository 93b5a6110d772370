import type { Typical } from "./against";
import { type Times, times } from "./analysis";
import type { Finding } from "./finding";
import { pathsOf } from "./paths";
import { extent, isError, type Skeleton } from "./skeleton";
import { besideTypical, verdict } from "./verdict";

/** What the worker finds in a trace. */
export interface Computed extends Times {
  findings: Finding[];
  /** Rows that failed, ascending. */
  errors: Int32Array;
  /** Rows on the critical path, ascending. */
  waited: Int32Array;
}

/** What the worker is asked, and what it answers. The first question is the trace. */
export type Question = { trace: Skeleton; size: Uint32Array } | { typical: Typical };
export type Answer = { found: Computed } | { beside: Finding | null };

export function computed(trace: Skeleton, size: Uint32Array): Computed {
  const found = times(trace);
  return {
    ...found,
    findings: verdict(trace, size, found),
    errors: rowsWhere(trace.count, (row) => isError(trace, row)),
    waited: rowsWhere(trace.count, (row) => found.critical[row] > 0),
  };
}

/** How the trace is beside those alike. */
export function beside(trace: Skeleton, self: Float64Array, typical: Typical): Finding | null {
  return besideTypical(Math.max(1, extent(trace)), pathsOf(trace, self), typical);
}

function rowsWhere(count: number, is: (row: number) => boolean): Int32Array {
  const rows = new Int32Array(count);
  let next = 0;
  for (let row = 0; row < count; row += 1) if (is(row)) rows[next++] = row;
  return rows.slice(0, next);
}
