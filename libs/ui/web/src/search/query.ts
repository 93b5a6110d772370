import { json } from "../api";
import { answers } from "../events";
import { type Marked, messageOf } from "../partial";
import type { Range } from "../range";
import type { KeyValue } from "../trace/details";

export interface SearchTrace {
  traceID: string;
  rootServiceName?: string;
  rootTraceName?: string;
  startTimeUnixNano?: string;
  durationMs?: number;
  serviceStats?: Record<string, { spanCount?: number; errorCount?: number }>;
  spanSets?: { matched?: number; spans?: FoundSpan[] }[];
}

/** A span that matched. */
export interface FoundSpan {
  spanID?: string;
  name?: string;
  durationNanos?: string;
  attributes?: KeyValue[];
}

/** What the API says in place of the service of a root that it does not have. */
const NO_ROOT = "<root span not yet received>";

/** What a trace began with; null if that is not there. */
export function rootOf(trace: SearchTrace): { service: string; name: string } | null {
  const { rootServiceName: service = "", rootTraceName: name = "" } = trace;
  if (service !== NO_ROOT) return { service, name };
  // It says that as well of a root whose service has no name.
  return name === "" ? null : { service: "", name };
}

export interface SearchMetrics {
  inspectedTraces?: number;
  inspectedBytes?: string;
  totalJobs?: number;
  completedJobs?: number;
}

interface Answer extends Marked {
  traces?: SearchTrace[];
  metrics?: SearchMetrics;
}

export interface Found {
  traces: SearchTrace[];
  metrics: SearchMetrics;
  done: boolean;
  /** What the server says of an answer that is not whole; else empty. */
  message: string;
}

/** What a text names that is nothing but a trace id; `span` where it is the header `traceparent` of a request. */
export interface Named {
  trace: string;
  span: string | null;
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;

/** A text that is nothing but a trace id, as tools write it: with `0x` or hyphens, in capitals, without its leading zeros. */
export function traceId(text: string): Named | null {
  const written = text.trim().toLowerCase();
  const parent = TRACEPARENT.exec(written);
  if (parent) return { trace: parent[1], span: parent[2] };
  const hasMark = written.startsWith("0x");
  const id = (hasMark ? written.slice(2) : written).replaceAll("-", "");
  // A short text of letters alone is a word: "cafe".
  const isWord = !hasMark && id.length < 16 && !/\d/.test(id);
  return /^[0-9a-f]{1,32}$/.test(id) && !isWord ? { trace: id.padStart(32, "0"), span: null } : null;
}

/** Newest first. */
export function sorted(traces: Iterable<SearchTrace>): SearchTrace[] {
  const start = (trace: SearchTrace) => BigInt(trace.startTimeUnixNano ?? "0");
  return [...traces].sort((a, b) => (start(a) < start(b) ? 1 : start(a) > start(b) ? -1 : 0));
}

/** Runs a search; what it found so far comes with each difference. */
export async function* search(
  q: string,
  range: Range,
  limit: number,
  signal: AbortSignal,
): AsyncGenerator<Found> {
  const query = new URLSearchParams({ q, start: `${range.from}`, end: `${range.to}`, limit: `${limit}` });
  const traces = new Map<string, SearchTrace>();
  for await (const { answer, done, isFirst } of answers<Answer>(`search?${query}`, "", signal)) {
    if (done || isFirst) traces.clear();
    for (const trace of answer.traces ?? []) traces.set(trace.traceID, trace);
    const found = { traces: sorted(traces.values()), metrics: answer.metrics ?? {}, done };
    yield { ...found, message: messageOf(answer) };
  }
}

export interface Check {
  kind?: "search" | "metrics";
  canonical?: string;
  error?: { message: string; line?: number; column?: number };
  plan?: { readsWholeTraces: boolean };
  estimate?: Estimate;
}

/** What a query may read at most of what is stored. */
export interface Estimate {
  blocks: number;
  bytes: number;
  jobs: number;
  ofBlocks: number;
  ofBytes: number;
}

export function check(q: string, { from, to }: Range, signal: AbortSignal): Promise<Check> {
  const query = new URLSearchParams({ q, start: `${from}`, end: `${to}` });
  return json<Check>(`check?${query}`, signal);
}

/** Names of services with spans in a range. */
export async function services({ from, to }: Range, signal: AbortSignal): Promise<string[]> {
  const path = `v2/search/tag/resource.service.name/values?start=${from}&end=${to}`;
  const found = await json<{ tagValues?: { value: string }[] }>(path, signal);
  return (found.tagValues ?? []).map(({ value }) => value).sort();
}
