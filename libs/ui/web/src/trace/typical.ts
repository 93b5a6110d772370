import { config, json } from "../api";
import { around, type Range } from "../range";
import { padded } from "../router";
import { quote } from "../search/form";
import type { SearchTrace } from "../search/query";
import type { Typical } from "./against";
import { nameOf, type Skeleton, serviceOf } from "./skeleton";

/** Traces alike that are looked at, and how far from this one in seconds. */
const ALIKE = 50;
const AROUND = 3_600;

function rangeAround({ begin }: Skeleton): Range {
  const limit = config.value?.limits.searchSeconds ?? 0;
  return around(Number(begin / 1_000_000_000n), AROUND, AROUND, limit);
}

/**
 * The trace of median duration among the newest that began with the same service and operation within an hour of this one;
 * null if there is no other.
 */
export async function median(trace: Skeleton, signal: AbortSignal): Promise<string | null> {
  if (trace.count === 0) return null;
  const { from, to } = rangeAround(trace);
  const service = serviceOf(trace, 0);
  const ofService = service === "" ? "" : ` && resource.service.name = ${quote(service)}`;
  const query = new URLSearchParams({
    q: `{ nestedSetParent < 0 && name = ${quote(nameOf(trace, 0))}${ofService} }`,
    start: `${from}`,
    end: `${to}`,
    limit: `${Math.min(ALIKE, config.value?.limits.traces || ALIKE)}`,
  });
  const { traces = [] } = await json<{ traces?: SearchTrace[] }>(`search?${query}`, signal);
  return middle(traces.filter(({ traceID }) => padded(traceID) !== trace.traceId));
}

/** The one of the middle, by duration. */
export function middle(traces: SearchTrace[]): string | null {
  const sorted = [...traces].sort((a, b) => (a.durationMs ?? 0) - (b.durationMs ?? 0));
  const found = sorted[Math.floor((sorted.length - 1) / 2)];
  return found ? padded(found.traceID) : null;
}

/** The newest traces that began as this one, within an hour of it and without it; `few` of them where many would be too dear. */
export function typical(trace: Skeleton, signal: AbortSignal, few = false): Promise<Typical> {
  const { from, to } = rangeAround(trace);
  const query = new URLSearchParams({
    service: serviceOf(trace, 0),
    operation: nameOf(trace, 0),
    start: `${from}`,
    end: `${to}`,
    without: trace.traceId,
    ...(few && { few: "true" }),
  });
  return json<Typical>(`typical?${query}`, signal, few ? "low" : "auto");
}
