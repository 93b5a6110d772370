import { integer } from "../format";
import type { Value } from "../metrics";
import { quote } from "../search/form";
import { isError, type Skeleton } from "../trace/skeleton";

/** Calls from one service to another over a range. */
export interface Edge {
  client: string;
  server: string;
  /** Empty, or `database`, `messaging_system`, `virtual_node`. */
  kind: string;
  /** The side of a virtual node, which sent no spans: `client` or `server`; else empty. */
  virtual: string;
  calls: number;
  errors: number;
  /** Seconds; 0 if it is not known. */
  p95: number;
}

/** What tells an edge from all others, whatever letters its names have. */
export function keyOf({
  client,
  server,
  kind,
  virtual,
}: Pick<Edge, "client" | "server" | "kind" | "virtual">): string {
  return JSON.stringify([client, server, kind, virtual]);
}

/** The server names a database after one of these attributes: they are those of `metrics/graph.rs`. */
const OF_DATABASE = [
  ".peer.service",
  ".server.address",
  ".net.peer.name",
  ".network.peer.address",
  ".db.namespace",
  ".db.name",
  ".db.system",
  ".db.system.name",
];
/** The same for another side that sent no spans. */
const OF_SERVER = [
  "span.peer.service",
  "span.server.address",
  "span.net.peer.name",
  "span.messaging.destination.name",
  "span.messaging.system",
];
/** What the server calls clients without a name. */
const USER = "user";

/** A query for the spans of an edge: those of the side that sent some. */
export function spansOf({ client, server, kind, virtual }: Edge): string {
  const of = (name: string) => `resource.service.name = ${quote(name)}`;
  const calls = `{ ${of(client)} } > { ${of(server)} }`;
  if (kind === "") return calls;
  if (virtual === "client") {
    const named = client === USER ? "" : ` && span.peer.service = ${quote(client)}`;
    return `{ ${of(server)} && (kind = server || kind = consumer) && nestedSetParent < 0${named} }`;
  }
  if (kind === "messaging_system") {
    // A consumer may only link to the producer.
    return `(${calls}) || ({ ${of(client)} && kind = producer } && { ${of(server)} && kind = consumer })`;
  }
  const named = (kind === "database" ? OF_DATABASE : OF_SERVER).map((key) => `${key} = ${quote(server)}`);
  const [, host, port] = (kind === "database" && /^(.+):(\d{1,5})$/.exec(server)) || [];
  if (port) named.push(`(.network.peer.address = ${quote(host)} && .network.peer.port = ${port})`);
  return `{ ${of(client)} && (kind = client || kind = producer) && (${named.join(" || ")}) }`;
}

export function edgesOf(counts: Value[], latency: Value[]): Edge[] {
  const all = new Map<string, Edge>();
  const sides = ({ labels }: Value) => {
    const { client = "", server = "", connection_type: kind = "", virtual_node: virtual = "" } = labels;
    return { client, server, kind, virtual };
  };
  for (const found of counts) {
    const { __measure: measure } = found.labels;
    if (measure !== "calls" && measure !== "errors") continue;
    const key = keyOf(sides(found));
    const edge = all.get(key) ?? { ...sides(found), calls: 0, errors: 0, p95: 0 };
    edge[measure] += found.value;
    all.set(key, edge);
  }
  for (const found of latency) {
    const edge = all.get(keyOf(sides(found)));
    if (edge) edge.p95 = found.value;
  }
  return [...all.values()].filter(({ calls }) => calls > 0);
}

/** The edges within so many calls of one service, in any direction; all for the empty name. */
export function near(edges: Edge[], focus: string, hops = 1): Edge[] {
  if (focus === "") return edges;
  let reached = new Set([focus]);
  let found: Edge[] = [];
  for (let hop = 0; hop < hops; hop += 1) {
    found = edges.filter(({ client, server }) => reached.has(client) || reached.has(server));
    reached = new Set([...reached, ...found.flatMap(({ client, server }) => [client, server])]);
  }
  return found;
}

/** Calls in one window, and in one as long before it. */
export interface Change {
  /** Without calls if there are none any more. */
  now: Edge;
  /** Without calls if there were none. */
  before: Edge;
}

/** What became of each edge, those first whose calls take more or less time than they did. */
export function changesOf(now: Edge[], before: Edge[]): Change[] {
  const key = keyOf;
  const none = (edge: Edge): Edge => ({ ...edge, calls: 0, errors: 0, p95: 0 });
  const all = new Map(before.map((edge) => [key(edge), { now: none(edge), before: edge }]));
  for (const edge of now) {
    all.set(key(edge), { now: edge, before: all.get(key(edge))?.before ?? none(edge) });
  }
  const busy = ({ calls, p95 }: Edge) => calls * (p95 || 1e-3);
  const weight = ({ now, before }: Change) => Math.abs(busy(now) - busy(before));
  return [...all.values()].sort((a, b) => weight(b) - weight(a));
}

/** `new`, `gone`, or how far a value went, with its sign: `+50 %`. */
export function changeOf(now: number, before: number): string {
  if (now === before) return "±0 %";
  if (before === 0) return "new";
  if (now === 0) return "gone";
  const share = (now / before - 1) * 100;
  const size = Math.abs(share);
  const shown =
    size >= 1000 ? `×${integer(Math.round(now / before))}` : `${size.toFixed(size < 10 ? 1 : 0)} %`;
  return size >= 1000 ? shown : `${share < 0 ? "−" : "+"}${shown}`;
}

/** The share of calls that failed. */
export function failed({ calls, errors }: Edge): number {
  return calls > 0 ? errors / calls : 0;
}

/** How an edge changed, as a class: worse or better by more than so small a part that chance may have made it. */
export function turnOf({ now, before }: Change): "new" | "gone" | "worse" | "better" | "same" {
  if (before.calls === 0) return "new";
  if (now.calls === 0) return "gone";
  const errors = failed(now) - failed(before);
  const slower = before.p95 > 0 ? now.p95 / before.p95 : 1;
  if (errors > 0.01 || slower > 1.25) return "worse";
  return errors < -0.01 || slower < 0.8 ? "better" : "same";
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
      edge = { client, server, kind: "", virtual: "", calls: 0, errors: 0, p95: 0 };
      all.set(key, edge);
    }
    edge.calls += 1;
    if (isError(trace, row)) edge.errors += 1;
  }
  return [...all.values()];
}
