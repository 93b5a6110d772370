import { useMemo } from "preact/hooks";
import { duration, integer, millisOf, moment, zone, zoneOf } from "../format";
import { look, monogram } from "../looks";
import { named, visible } from "../names";
import { address, padded, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { ordered, SortHead, useOrder } from "../sorting";
import { Label, Text } from "../text";
import { readerOf, withColumns } from "./columns";
import { type Found, rootOf, type SearchTrace } from "./query";

const CHIPS = 8;
/** Traces that are compared. */
const SIDES = 2;

const ORDERS = ["start", "duration", "spans"] as const;

interface Props {
  found: Found;
  /** What was asked, without the columns. */
  q: string;
  columns: string[];
}

/** The traces that a search found. Links that were followed are grey. */
export function Results({ found: { traces, done }, q, columns }: Props) {
  const head = useOrder<(typeof ORDERS)[number]>(ORDERS, { by: "start", ascending: false });
  const { order } = head;
  const readers = useMemo(
    () => columns.map((column) => readerOf(column, withColumns(q, columns))),
    [q, columns.join()],
  );
  const marked = (params.value.get("marked") ?? "").split(".").slice(0, SIDES);
  const picked = traces.map(({ traceID }) => padded(traceID)).filter((id) => marked.includes(id));
  if (traces.length === 0) return done ? <p class="hint">No trace in this range matches.</p> : null;
  const pick = (id: string) => {
    const inOrder = marked.filter((one) => picked.includes(one));
    const next = picked.includes(id) ? inOrder.filter((one) => one !== id) : [...inOrder, id];
    setParams({ marked: next.slice(-SIDES).join(".") || null });
  };
  const inOrder =
    order.by === "start"
      ? order.ascending
        ? [...traces].reverse()
        : traces
      : ordered(traces, order.by === "spans" ? spansOf : ({ durationMs = 0 }) => durationMs, order.ascending);
  const common = zoneOf(traces.map((trace) => millisOf(trace.startTimeUnixNano)));
  const longest = Math.max(1, ...traces.map((trace) => trace.durationMs ?? 0));
  return (
    <Scroll>
      <p class="muted">
        {picked.length === SIDES ? (
          <a href={address(`compare/${marked.join("...")}`)}>Compare the two traces</a>
        ) : (
          "Mark two traces to compare them."
        )}
      </p>
      <table class="results">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">Compare</span>
            </th>
            <SortHead column="start" isText {...head}>
              Start {common !== null && <span class="muted">{common}</span>}
            </SortHead>
            <th scope="col">Trace</th>
            <SortHead column="duration" {...head}>
              Duration
            </SortHead>
            <SortHead column="spans" {...head}>
              Spans
            </SortHead>
            <th scope="col">Services</th>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {inOrder.map((trace) => (
            <Row
              key={trace.traceID}
              trace={trace}
              longest={longest}
              values={readers.map((read) => read(trace))}
              hasZone={common === null}
              isPicked={picked.includes(padded(trace.traceID))}
              pick={() => pick(padded(trace.traceID))}
            />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function spansOf({ serviceStats = {} }: SearchTrace): number {
  return Object.values(serviceStats).reduce((sum, { spanCount = 0 }) => sum + spanCount, 0);
}

interface RowProps {
  trace: SearchTrace;
  longest: number;
  /** Of the columns. */
  values: string[];
  /** Rows are of several zones: each says its own. */
  hasZone: boolean;
  isPicked: boolean;
  pick(): void;
}

function Row({ trace, longest, values, hasZone, isPicked, pick }: RowProps) {
  const start = millisOf(trace.startTimeUnixNano);
  const stats = Object.entries(trace.serviceStats ?? {});
  const spans = spansOf(trace);
  const errors = stats.reduce((sum, [, { errorCount = 0 }]) => sum + errorCount, 0);
  const matched = (trace.spanSets ?? []).reduce((sum, set) => sum + (set.matched ?? 0), 0);
  const millis = trace.durationMs ?? 0;
  const root = rootOf(trace);
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          checked={isPicked}
          onChange={pick}
          aria-label={`compare trace ${padded(trace.traceID)}`}
        />
      </td>
      <td class="nowrap">
        {moment(start)}
        {hasZone && <span class="muted"> {zone(start / 1000)}</span>}
      </td>
      <td>
        <a href={address(`trace/${padded(trace.traceID)}`)}>
          {root ? (
            <>
              <Chip name={root.service} /> <Label value={root.name} />
            </>
          ) : (
            "without its first span"
          )}
        </a>
      </td>
      <td class="number">
        <span>{millis === 0 ? "< 1 ms" : duration(millis * 1e6)}</span>
        <meter min={0} max={longest} value={millis} aria-hidden="true" />
      </td>
      <td class="number nowrap">
        {spans > 0 ? integer(spans) : ""}
        {matched > 0 && <span class="muted"> ●{integer(matched)}</span>}
        {errors > 0 && <span class="error"> ✕{integer(errors)}</span>}
      </td>
      <td>
        <span class="chips">
          {stats.slice(0, CHIPS).map(([name]) => (
            <Chip key={name} name={name} />
          ))}
          {stats.length > CHIPS && <span class="muted">+{stats.length - CHIPS}</span>}
        </span>
      </td>
      {values.map((value, at) => (
        <td key={at}>
          <Text value={value} />
        </td>
      ))}
    </tr>
  );
}

/** A service by its look and two letters. */
export function Chip({ name }: { name: string }) {
  const shown = visible(named(name, "unknown service"));
  return (
    <span class="chip" title={shown} role="img" aria-label={shown}>
      <span class={`swatch ${look(name)}`} />
      {monogram(name)}
    </span>
  );
}
