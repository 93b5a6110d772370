import type { Value } from "../metrics";
import { isError, type Skeleton } from "../trace/skeleton";

/** Calls from one service to another over a range. */
export interface Edge {
  client: string;
  server: string;
  /** Empty, or `database`, `messaging_system`, `virtual_node`. */
  kind: string;
  calls: number;
  errors: number;
  /** Seconds; 0 if it is not known. */
  p95: number;
}

export function edgesOf(counts: Value[], latency: Value[]): Edge[] {
  const all = new Map<string, Edge>();
  const key = ({ labels }: Value) =>
    `${labels.client}\u0000${labels.server}\u0000${labels.connection_type ?? ""}`;
  for (const found of counts) {
    const { client = "", server = "", connection_type: kind = "", __measure: measure } = found.labels;
    if (measure !== "calls" && measure !== "errors") continue;
    const edge = all.get(key(found)) ?? { client, server, kind, calls: 0, errors: 0, p95: 0 };
    edge[measure] += found.value;
    all.set(key(found), edge);
  }
  for (const found of latency) {
    const edge = all.get(key(found));
    if (edge) edge.p95 = found.value;
  }
  return [...all.values()].filter(({ calls }) => calls > 0);
}

/** The edges of one service; all for the empty name. */
export function near(edges: Edge[], focus: string): Edge[] {
  return focus === "" ? edges : edges.filter(({ client, server }) => client === focus || server === focus);
}

/** Calls between the services of one trace: each span whose parent is of another service. */
export function edgesIn(trace: Skeleton): Edge[] {
  const all = new Map<number, Edge>();
  for (let row = 0; row < trace.count; row += 1) {
    const above = trace.parent[row];
    if (above < 0 || trace.service[above] === trace.service[row]) continue;
    const key = trace.service[above] * trace.services.length + trace.service[row];
    let edge = all.get(key);
    if (!edge) {
      const [client, server] = [trace.services[trace.service[above]], trace.services[trace.service[row]]];
      edge = { client, server, kind: "", calls: 0, errors: 0, p95: 0 };
      all.set(key, edge);
    }
    edge.calls += 1;
    if (isError(trace, row)) edge.errors += 1;
  }
  return [...all.values()];
}
