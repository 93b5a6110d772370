import type { Span, SpanEvent } from "./details";

/** Nanoseconds from the start of a span to an event of it. */
export function sinceStart(event: SpanEvent, span: Span): number {
  return Number(BigInt(event.timeUnixNano ?? "0") - BigInt(span.startTimeUnixNano ?? "0"));
}
