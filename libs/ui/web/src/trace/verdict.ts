import { duration, integer } from "../format";
import { inSentence } from "../names";
import { type Typical, typicalPaths } from "./against";
import { shape, type Times } from "./analysis";
import { type Finding, label } from "./finding";
import { idle, silent } from "./gaps";
import type { Path } from "./paths";
import { isError, type Skeleton } from "./skeleton";

/** So many calls alike below one span are worth a word, if they take this share of the trace. */
const REPEATED = 10;
const SHARE = 0.2;

/**
 * How long a trace took beside those that are like it, and which service has most of what it took longer. The finding leads
 * to the longest span of that.
 */
export function besideTypical(extent: number, paths: Path, typical: Typical): Finding | null {
  const { traces, duration: usual } = typical;
  if (traces === 0) return null;
  const alike = traces === 1 ? "the only similar trace" : `the median of ${integer(traces)} similar traces`;
  const root = [...paths.children.values()].sort((a, b) => b.total - a.total)[0];
  if (extent <= usual.p50) {
    return { row: root?.longest ?? -1, text: `no slower than ${alike} (${duration(usual.p50)})` };
  }
  const most = largestExcess(paths, typicalPaths(typical));
  const text =
    `${duration(extent - usual.p50)} slower than ${alike}` +
    (extent > usual.p95 ? ", and than 95 % of them" : ", as some of them are") +
    (most ? `; self time grew most in ${inSentence(most.service)}, by ${duration(most.more)}` : "");
  return { row: most?.row ?? root?.longest ?? -1, text };
}

interface Excess {
  service: string;
  /** Nanoseconds of own time. */
  more: number;
  row: number;
}

/** The service whose own time grew most, and the longest span of the call of it that did. */
function largestExcess(paths: Path, usual: Path): Excess | null {
  const services = new Map<string, Excess & { most: number }>();
  const waiting: [path: Path | undefined, usual: Path | undefined][] = [[paths, usual]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [here, there] = next;
    for (const key of new Set([...(here?.children.keys() ?? []), ...(there?.children.keys() ?? [])])) {
      const [path, typical] = [here?.children.get(key), there?.children.get(key)];
      const [service] = key.split("\u0000");
      const more = (path?.self ?? 0) - (typical?.self ?? 0);
      const known = services.get(service) ?? { service, more: 0, row: -1, most: 0 };
      known.more += more;
      if (path && more > known.most) Object.assign(known, { row: path.longest, most: more });
      services.set(service, known);
      waiting.push([path, typical]);
    }
  }
  const first = [...services.values()].sort((a, b) => b.more - a.more)[0];
  return first && first.more > 0 && first.row >= 0 ? first : null;
}

/** Why a trace took as long as it did, by rules that never change: what it waited for, where it failed, what it did often. */
export function verdict(trace: Skeleton, size: Uint32Array, times: Times): Finding[] {
  const { critical, retry } = times;
  const all = [
    idle(trace),
    waited(trace, critical),
    silent(trace, size, times),
    failed(trace, critical),
    retried(trace, retry),
    repeated(trace, size, critical),
  ];
  const found = all.filter((one) => one !== null);
  return [...found.filter(({ weak }) => !weak), ...found.filter(({ weak }) => weak)];
}

/** The operation that the critical path is in for longest. */
function waited(trace: Skeleton, critical: Float64Array): Finding | null {
  const operations = new Map<number, { time: number; row: number; count: number }>();
  let total = 0;
  for (let row = 0; row < trace.count; row += 1) {
    if (critical[row] <= 0) continue;
    total += critical[row];
    const key = trace.service[row] * trace.names.length + trace.name[row];
    const known = operations.get(key);
    if (!known) operations.set(key, { time: critical[row], row, count: 1 });
    else {
      if (critical[row] > critical[known.row]) known.row = row;
      known.time += critical[row];
      known.count += 1;
    }
  }
  const first = [...operations.values()].sort((a, b) => b.time - a.time)[0];
  if (!first) return null;
  const share = Math.round((first.time / total) * 100);
  const often = first.count > 1 ? ` in ${integer(first.count)} spans` : "";
  return {
    row: first.row,
    weak: first.time < total / 2,
    text: `${share} % of the critical path is ${label(trace, first.row)} (${duration(first.time)}${often})`,
  };
}

/**
 * The deepest error: those above it usually follow from it. Of several that are as deep, the one that the trace waited for,
 * then the latest.
 */
function failed(trace: Skeleton, critical: Float64Array): Finding | null {
  const { depth } = shape(trace.parent);
  const isWaited = (row: number) => (critical[row] > 0 ? 1 : 0);
  let errors = 0;
  let first = -1;
  for (let row = 0; row < trace.count; row += 1) {
    if (!isError(trace, row)) continue;
    errors += 1;
    const more =
      depth[row] - depth[first] || isWaited(row) - isWaited(first) || trace.start[row] - trace.start[first];
    if (first < 0 || more > 0) first = row;
  }
  if (first < 0) return null;
  const many = errors > 1 ? `; ${integer(errors)} spans failed` : "";
  let above = trace.parent[first];
  while (above >= 0 && isError(trace, above)) above = trace.parent[above];
  const hidden = above >= 0 ? `; ${label(trace, above)} went on without it` : "";
  return { row: first, failed: true, text: `the error begins in ${label(trace, first)}${many}${hidden}` };
}

/** One span that makes many calls alike. */
function repeated(trace: Skeleton, size: Uint32Array, critical: Float64Array): Finding | null {
  let total = 0;
  for (let row = 0; row < trace.count; row += 1) total += critical[row];
  let most: { row: number; count: number; time: number } | null = null;
  for (let above = 0; above < trace.count; above += 1) {
    if (size[above] <= REPEATED) continue;
    const groups = new Map<number, { row: number; count: number; time: number }>();
    for (let row = above + 1; row < above + size[above]; row += size[row]) {
      const key = trace.service[row] * trace.names.length + trace.name[row];
      const group = groups.get(key);
      // What is below a call is part of it.
      const time = below(critical, row, size[row]);
      if (!group) groups.set(key, { row, count: 1, time });
      else {
        group.count += 1;
        group.time += time;
      }
    }
    for (const group of groups.values()) {
      if (group.count >= REPEATED && group.time >= total * SHARE && group.time > (most?.time ?? 0))
        most = group;
    }
  }
  if (!most) return null;
  const share = Math.round((most.time / total) * 100);
  const above = label(trace, trace.parent[most.row]);
  return {
    row: most.row,
    text: `${above} calls ${label(trace, most.row)} ${integer(most.count)} times, ${share} % of the critical path`,
  };
}

/** So many rows below a call are looked at: deep trees would be added up at each of their levels. */
const LOOKED_AT = 256;

function below(critical: Float64Array, row: number, size: number): number {
  let time = 0;
  const end = row + Math.min(size, LOOKED_AT);
  for (let at = row; at < end; at += 1) time += critical[at];
  return time;
}

/** Calls of an operation, each but the first after the one before had failed. */
interface Chain {
  /** The first that was made again. */
  row: number;
  tries: number;
  /** The last failed as well. */
  failed: boolean;
}

/** The most calls that were made one after the other because each before had failed: one that works ends them. */
function retried(trace: Skeleton, retry: Uint8Array): Finding | null {
  const chains: Chain[] = [];
  // By parent and operation, those that no call has ended yet.
  const open = new Map<number, Map<number, Chain>>();
  for (let row = 0; row < trace.count; row += 1) {
    const siblings = open.get(trace.parent[row]);
    if (retry[row] === 0 && !siblings) continue;
    const operation = trace.service[row] * trace.names.length + trace.name[row];
    const known = siblings?.get(operation);
    const failed = isError(trace, row);
    if (retry[row] === 1) {
      const chain = known ?? { row, tries: 1, failed };
      if (!known) chains.push(chain);
      chain.tries += 1;
      chain.failed = failed;
      if (!siblings) open.set(trace.parent[row], new Map([[operation, chain]]));
      else siblings.set(operation, chain);
    }
    if (!failed) open.get(trace.parent[row])?.delete(operation);
  }
  const longest = chains.sort((a, b) => b.tries - a.tries || Number(b.failed) - Number(a.failed))[0];
  if (!longest) return null;
  const { row, tries, failed } = longest;
  const ending = failed ? "each failed" : "then it worked";
  return { row, failed, text: `${integer(tries)} tries of ${label(trace, row)}, ${ending}` };
}
