import type { Comparison } from "../compare/align";
import type { Edge } from "../map/edges";
import type { Drawn } from "../map/layout";
import { type Against, against, type Typical } from "./against";
import { type Times, times } from "./analysis";
import type { Finding } from "./finding";
import type { Flame } from "./flame-boxes";
import { type Call, callOf, type Path } from "./paths";
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

/** What the worker is asked. The first question about a trace is the trace. */
export type Question =
  | { kind: "found"; trace: Skeleton; size: Uint32Array }
  | { kind: "beside"; typical: Typical }
  | { kind: "against"; typical: Typical }
  | { kind: "flame"; within: number }
  | { kind: "compare"; sides: [ArrayBuffer | Typical, ArrayBuffer] }
  | { kind: "layout"; edges: Edge[]; letters?: number };

/** What it answers, by the kind of the question. */
export interface Answers {
  found: Computed;
  beside: Finding | null;
  against: Differing;
  flame: Flame;
  compare: Comparison;
  layout: Drawn;
}

/** A question by its number, and what was said to it. */
export type Asked = { number: number; question: Question };
export type Said = { number: number; answer: Answers[keyof Answers] } | { number: number; problem: string };

/** Calls that differ most from what is typical; how many others do. */
export interface Differing {
  rows: Against<Call>[];
  hidden: number;
}

/** Calls that are shown beside what is typical. */
const DIFFERING = 200;

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
export function beside(trace: Skeleton, paths: Path, typical: Typical): Finding | null {
  return besideTypical(Math.max(1, extent(trace)), paths, typical);
}

/** Which calls differ from those alike. */
export function differing(paths: Path, typical: Typical): Differing {
  const all = against(paths, typical);
  const rows = all.slice(0, DIFFERING).map(({ path, ...row }) => ({ ...row, path: path && callOf(path) }));
  return { rows, hidden: all.length - rows.length };
}

function rowsWhere(count: number, is: (row: number) => boolean): Int32Array {
  const rows = new Int32Array(count);
  let next = 0;
  for (let row = 0; row < count; row += 1) if (is(row)) rows[next++] = row;
  return rows.slice(0, next);
}
