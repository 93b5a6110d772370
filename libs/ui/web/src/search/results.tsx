import { duration, integer, time } from "../format";
import { look, monogram } from "../looks";
import { named, visible } from "../names";
import { address, padded, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { Label, Text } from "../text";
import { valuesOf } from "./columns";
import type { Found, SearchTrace } from "./query";

const CHIPS = 8;
/** Traces that are compared. */
const SIDES = 2;

/** The traces that a search found. Links that were followed are grey. */
export function Results({ found: { traces, done }, columns }: { found: Found; columns: string[] }) {
  const marked = (params.value.get("marked") ?? "").split(".").slice(0, SIDES);
  const picked = traces.map(({ traceID }) => padded(traceID)).filter((id) => marked.includes(id));
  if (traces.length === 0) return done ? <p class="hint">No trace in this range matches.</p> : null;
  const pick = (id: string) => {
    const inOrder = marked.filter((one) => picked.includes(one));
    const next = picked.includes(id) ? inOrder.filter((one) => one !== id) : [...inOrder, id];
    setParams({ marked: next.slice(-SIDES).join(".") || null });
  };
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
            <th scope="col">Start</th>
            <th scope="col">Trace</th>
            <th scope="col" class="number">
              Duration
            </th>
            <th scope="col" class="number">
              Spans
            </th>
            <th scope="col">Services</th>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {traces.map((trace) => (
            <Row
              key={trace.traceID}
              trace={trace}
              longest={longest}
              columns={columns}
              isPicked={picked.includes(padded(trace.traceID))}
              pick={() => pick(padded(trace.traceID))}
            />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

interface RowProps {
  trace: SearchTrace;
  longest: number;
  columns: string[];
  isPicked: boolean;
  pick(): void;
}

function Row({ trace, longest, columns, isPicked, pick }: RowProps) {
  const stats = Object.entries(trace.serviceStats ?? {});
  const spans = stats.reduce((sum, [, { spanCount = 0 }]) => sum + spanCount, 0);
  const errors = stats.reduce((sum, [, { errorCount = 0 }]) => sum + errorCount, 0);
  const matched = (trace.spanSets ?? []).reduce((sum, set) => sum + (set.matched ?? 0), 0);
  const millis = trace.durationMs ?? 0;
  const service = trace.rootServiceName ?? "";
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
      <td class="nowrap">{time(Number(BigInt(trace.startTimeUnixNano ?? "0") / 1_000_000n))}</td>
      <td>
        <a href={address(`trace/${padded(trace.traceID)}`)}>
          <Chip name={service} /> <Label value={trace.rootTraceName ?? ""} none="(root is missing)" />
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
      {columns.map((column) => (
        <td key={column}>
          <Text value={valuesOf(trace, column)} />
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
