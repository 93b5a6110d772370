import { type Shape, shape } from "./analysis";
import type { Computed } from "./computed";
import { Runs } from "./rows";
import { extent, isError, type Skeleton, serviceOf } from "./skeleton";

/** A trace as its page works with it. */
export interface Model {
  trace: Skeleton;
  shape: Shape;
  runs: Runs;
  /** Nanoseconds from the first start to the last end; at least 1. */
  extent: number;
  errors: number;
  early: Early;
}

/** Spans that start before their parent does: clocks of machines differ. */
export interface Early {
  spans: number;
  /** By service, how much before at most. */
  services: Map<string, number>;
}

export function modelOf(trace: Skeleton): Model {
  const found = shape(trace.parent);
  const early: Early = { spans: 0, services: new Map() };
  let errors = 0;
  for (let row = 0; row < trace.count; row += 1) {
    if (isError(trace, row)) errors += 1;
    const above = trace.parent[row];
    if (above < 0 || trace.start[row] >= trace.start[above]) continue;
    const service = serviceOf(trace, row);
    const before = trace.start[above] - trace.start[row];
    early.spans += 1;
    early.services.set(service, Math.max(before, early.services.get(service) ?? 0));
  }
  return {
    trace,
    shape: found,
    runs: new Runs(trace, found.size),
    extent: Math.max(1, extent(trace)),
    errors,
    early,
  };
}

/** What the worker found; null until then. */
export type Found = Computed | null;
