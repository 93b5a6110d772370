import { useMemo, useState } from "preact/hooks";
import { config } from "../api";
import { counted, integer } from "../format";
import { visible } from "../names";
import { around, type Range } from "../range";
import { fixed } from "../range-select";
import { address } from "../router";
import { conditionOf } from "../search/form";
import { Text } from "../text";
import { type KeyValue, valueText } from "./details";
import { LinkedText } from "./linked";
import { type LinkValues, linksAt, type Place } from "./links";
import { extent, type Skeleton } from "./skeleton";
import type { Source } from "./source";

/** Attributes that are there at once; of an event or a link, of which a span has many, fewer. */
const SHOWN = 500;
const SHOWN_EACH = 50;

interface AttributesProps {
  pairs: KeyValue[] | undefined;
  /** Attributes that the sender left out. */
  dropped: number | undefined;
  scope: string;
  trace: Skeleton;
  source: Source;
}

export function Attributes({ pairs = [], dropped, scope, trace, source }: AttributesProps) {
  const range = useMemo(() => rangeAround(trace), [trace]);
  const [all, setAll] = useState(false);
  const most = scope === "event" || scope === "link" ? SHOWN_EACH : SHOWN;
  const sorted = [...pairs].sort((a, b) => (a.key < b.key ? -1 : 1));
  const shown = all ? sorted : sorted.slice(0, most);
  return (
    <>
      {pairs.length === 0 && scope === "span" && <p class="muted">none</p>}
      {shown.length > 0 && (
        <dl>
          {shown.map(({ key, value }, at) => {
            const said = valueText(value);
            const text =
              said === "" ? (
                <span class="muted">(empty)</span>
              ) : (
                <LinkedText value={said} trace={trace} source={source} />
              );
            const condition = source.isStored ? conditionOf(scope, key, value) : null;
            return (
              <div key={at} class="pair">
                <dt>
                  <Text value={key || "(empty)"} />
                </dt>
                <dd>
                  {key.endsWith("stacktrace") ? (
                    <pre role="region" aria-label={visible(key)} tabIndex={0}>
                      {text}
                    </pre>
                  ) : (
                    text
                  )}
                  {condition !== null && <Alike condition={condition} range={range} />}
                </dd>
              </div>
            );
          })}
        </dl>
      )}
      {shown.length < pairs.length && (
        <ShowAll count={pairs.length} what="attributes" show={() => setAll(true)} />
      )}
      <Dropped count={dropped} what="attribute" />
    </>
  );
}

/** Below the first of many. */
export function ShowAll({ count, what, show }: { count: number; what: string; show(): void }) {
  return (
    <p>
      <button type="button" onClick={show}>
        Show all {integer(count)} {what}
      </button>
    </p>
  );
}

/** So many seconds around a trace others like it are looked for. */
const AROUND = 3_600;

function rangeAround(trace: Skeleton): Range {
  const at = Number(trace.begin / 1_000_000_000n);
  const after = Math.ceil(extent(trace) / 1e9) + AROUND;
  return around(at, AROUND, after, config.value?.limits.searchSeconds ?? 0);
}

/** Leads to the spans that have the same value. */
function Alike({ condition, range }: { condition: string; range: Range }) {
  return (
    <a
      class="alike"
      href={address("search", { q: `{ ${condition} }`, ...fixed(range) })}
      title="Find spans with this value"
    >
      find
    </a>
  );
}

/** What the sender had and did not send: its library has limits. */
export function Dropped({ count = 0, what }: { count: number | undefined; what: string }) {
  if (count === 0) return null;
  return (
    <p class="warning">
      ! {counted(count, what)} dropped by the sender, which {count === 1 ? "is" : "are"} stored nowhere.
    </p>
  );
}

/** Links that are configured, of what is shown above. */
export function Links({ place, values }: { place: Place; values: LinkValues }) {
  const made = linksAt(place, config.value?.links ?? [], values);
  if (made.length === 0) return null;
  return (
    <p class="links">
      {made.map(({ title, url }) => (
        <a key={`${title} ${url}`} href={url} target="_blank" rel="noopener noreferrer">
          → {title}
        </a>
      ))}
    </p>
  );
}
