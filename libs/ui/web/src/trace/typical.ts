import { json } from "../api";
import { padded } from "../router";
import { quote } from "../search/form";
import type { SearchTrace } from "../search/query";
import type { Typical } from "./against";
import { nameOf, type Skeleton, serviceOf } from "./skeleton";

/** Traces alike that are looked at, and how far from this one in seconds. */
const ALIKE = 50;
const AROUND = 3_600;

/** The first second that is looked at; 0 would be none. */
function from(at: number): number {
  return Math.max(1, at - AROUND);
}

/**
 * The trace of median duration among the newest that began with the same service and operation within an hour of this one;
 * null if there is no other.
 */
export async function median(trace: Skeleton): Promise<string | null> {
  if (trace.count === 0) return null;
  const at = Number(trace.begin / 1_000_000_000n);
  const service = serviceOf(trace, 0);
  const ofService = service === "" ? "" : ` && resource.service.name = ${quote(service)}`;
  const query = new URLSearchParams({
    q: `{ nestedSetParent < 0 && name = ${quote(nameOf(trace, 0))}${ofService} }`,
    start: `${from(at)}`,
    end: `${at + AROUND}`,
    limit: `${ALIKE}`,
  });
  const { traces = [] } = await json<{ traces?: SearchTrace[] }>(`search?${query}`);
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
  const at = Number(trace.begin / 1_000_000_000n);
  const query = new URLSearchParams({
    service: serviceOf(trace, 0),
    operation: nameOf(trace, 0),
    start: `${from(at)}`,
    end: `${at + AROUND}`,
    without: trace.traceId,
    ...(few && { few: "true" }),
  });
  return json<Typical>(`typical?${query}`, signal, few ? "low" : "auto");
}
