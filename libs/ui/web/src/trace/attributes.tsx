import { useMemo } from "preact/hooks";
import { config } from "../api";
import { counted } from "../format";
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
  return (
    <>
      {pairs.length === 0 && scope === "span" && <p class="muted">none</p>}
      {pairs.length > 0 && (
        <dl>
          {[...pairs]
            .sort((a, b) => (a.key < b.key ? -1 : 1))
            .map(({ key, value }, at) => {
              const shown = valueText(value);
              const text =
                shown === "" ? (
                  <span class="muted">(empty)</span>
                ) : (
                  <LinkedText value={shown} trace={trace} source={source} />
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
      <Dropped count={dropped} what="attribute" />
    </>
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
