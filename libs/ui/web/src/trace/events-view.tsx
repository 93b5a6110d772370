import { useState } from "preact/hooks";
import { duration, integer, millisOf, moment } from "../format";
import { Label } from "../text";
import { Attributes, Dropped, Links, ShowAll } from "./attributes";
import type { Span, SpanEvent } from "./details";
import { sinceStart } from "./events";
import type { LinkValues } from "./links";
import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** Events that are there at once, and those of them that are open. */
const SHOWN = 100;
const OPEN = 5;

interface Props {
  span: Span;
  values: LinkValues;
  trace: Skeleton;
  source: Source;
}

/** What happened in a span: its first events until somebody wants all. */
export function Events({ span, values, trace, source }: Props) {
  const [all, setAll] = useState(false);
  const events = span.events ?? [];
  const shown = all ? events : events.slice(0, SHOWN);
  if (events.length === 0 && !span.droppedEventsCount) return null;
  return (
    <>
      <h3>Events{events.length > OPEN && <span class="muted"> {integer(events.length)}</span>}</h3>
      {shown.map((event, at) => (
        <details key={at} open={at < OPEN}>
          <summary>
            <When event={event} span={span} trace={trace} /> <Label value={event.name ?? ""} />
          </summary>
          <Attributes
            pairs={event.attributes}
            dropped={event.droppedAttributesCount}
            scope="event"
            {...{ trace, source }}
          />
          <Links place="event" values={{ ...values, event: event.attributes ?? [] }} />
        </details>
      ))}
      {shown.length < events.length && (
        <ShowAll count={events.length} what="events" show={() => setAll(true)} />
      )}
      <Dropped count={span.droppedEventsCount} what="event" />
    </>
  );
}

/** When an event happened, from the start of its span. */
function When({ event, span, trace }: { event: SpanEvent; span: Span; trace: Skeleton }) {
  const at = BigInt(event.timeUnixNano ?? "0");
  if (at === 0n) return <span class="muted">without a time</span>;
  const [since, sinceTrace] = [sinceStart(event, span), Number(at - trace.begin)];
  const isOutside = since < 0 || at > BigInt(span.endTimeUnixNano ?? "0");
  return (
    <span title={`${duration(sinceTrace)} after the start of the trace, at ${moment(millisOf(at))}`}>
      {since < 0 ? `−${duration(-since)}` : `+${duration(since)}`}
      {isOutside && <span class="warning"> {since < 0 ? "before" : "after the end of"} the span</span>}
    </span>
  );
}
