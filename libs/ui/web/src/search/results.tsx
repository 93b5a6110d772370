import { useState } from "preact/hooks";
import { duration, integer, time } from "../format";
import { look, monogram } from "../looks";
import { address, padded } from "../router";
import { Scroll } from "../scroll";
import { Text } from "../text";
import { valuesOf } from "./columns";
import type { Found, SearchTrace } from "./query";

const CHIPS = 8;

/** The traces that a search found. Links that were followed are grey. */
export function Results({ found: { traces, done }, columns }: { found: Found; columns: string[] }) {
  const [picked, setPicked] = useState<string[]>([]);
  if (traces.length === 0) return done ? <p class="hint">No trace in this range matches.</p> : null;
  const pick = (id: string) =>
    setPicked(picked.includes(id) ? picked.filter((one) => one !== id) : [...picked, id].slice(-2));
  const longest = Math.max(1, ...traces.map((trace) => trace.durationMs ?? 0));
  return (
    <Scroll>
      <p class="muted">
        {picked.length === 2 ? (
          <a href={address(`compare/${padded(picked[0])}...${padded(picked[1])}`)}>Compare the two traces</a>
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
              isPicked={picked.includes(trace.traceID)}
              pick={() => pick(trace.traceID)}
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
          <Chip name={service} /> <Text value={trace.rootTraceName || "(root is missing)"} />
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
  return (
    <span class="chip" title={name} role="img" aria-label={name || "unknown service"}>
      <span class={`swatch ${look(name)}`} />
      {monogram(name)}
    </span>
  );
}
