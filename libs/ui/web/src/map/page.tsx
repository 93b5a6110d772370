import { useEffect, useState } from "preact/hooks";
import { config } from "../api";
import { QueryField } from "../editor/field";
import { duration, integer } from "../format";
import { useLoaded } from "../loaded";
import { values } from "../metrics";
import { type Range, tooLong } from "../range";
import { RangeSelect, useRange } from "../range-select";
import { address, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { useCheck } from "../search/check";
import { quote } from "../search/form";
import { Problem } from "../search/problem";
import { Chip } from "../search/results";
import { rate } from "../services/page";
import { Text } from "../text";
import { type Edge, edgesOf, near } from "./edges";
import { Graph } from "./graph";
import { layout } from "./layout";

const MOST_EDGES = 400;

async function load(filter: string, range: Range, focus: string, signal: AbortSignal) {
  const [counts, latency] = await Promise.all([
    values(`${filter} | service_graph()`, range, signal),
    values(`${filter} | service_graph(server_latency, .95)`, range, signal),
  ]);
  const all = near(edgesOf(counts, latency), focus);
  const shown = all.sort((a, b) => b.calls - a.calls).slice(0, MOST_EDGES);
  return { edges: shown, hidden: all.length - shown.length, drawn: await layout(shown) };
}

/** Which services call which, of any spans at any time. */
export function MapPage() {
  const filter = params.value.get("q") ?? "{ }";
  const focus = params.value.get("focus") ?? "";
  const [text, setText] = useState(filter);
  const { range, again } = useRange();
  const wrongQuery = useCheck(text, "search");
  const wrong = tooLong(range, config.value?.limits.metricsSeconds ?? 0, "The map");
  const key = wrong ? null : `${filter} ${focus} ${range.from} ${range.to}`;
  const { value, problem } = useLoaded(key, (signal) => load(filter, range, focus, signal));
  useEffect(() => {
    document.title = "Map – Tactus";
  }, []);
  useEffect(() => setText(filter), [filter]);
  const said = wrong ?? problem;
  const seconds = range.to - range.from;
  return (
    <main>
      <h1 class="hidden">Map of services</h1>
      <form
        class="query"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() === filter) again();
          else setParams({ q: text.trim() || null }, false);
        }}
      >
        <QueryField
          value={text}
          set={setText}
          range={range}
          label="TraceQL filter of the calls"
          isWrong={wrongQuery !== null}
        />
        <RangeSelect />
        <button type="submit" class="primary">
          Run
        </button>
      </form>
      <div id="query-problem" class="problem" aria-live="polite">
        {wrongQuery && <Problem query={text} problem={wrongQuery} />}
      </div>
      {focus !== "" && (
        <p>
          Calls of and to <Text value={focus} /> ·{" "}
          <button type="button" class="link" onClick={() => setParams({ focus: null }, false)}>
            show all services
          </button>
        </p>
      )}
      {said !== null && (
        <p class="error" role="alert">
          ✕ {said}
        </p>
      )}
      {said === null && value === null && <p role="status">reading…</p>}
      {value?.edges.length === 0 && <p class="hint">No call between services was stored in this range.</p>}
      {value && value.hidden > 0 && (
        <p class="strip">
          ! Only the {integer(MOST_EDGES)} calls most made are shown, {integer(value.hidden)} are not.
        </p>
      )}
      {value && value.edges.length > 0 && (
        <>
          <Graph
            drawn={value.drawn}
            label={(edge) => rate(edge.calls / seconds)}
            focus={focus}
            lead={(name) => address("map", { ...current(), focus: name })}
          />
          <EdgeTable edges={value.edges} seconds={seconds} />
        </>
      )}
    </main>
  );
}

function current(): Record<string, string | null> {
  return Object.fromEntries(["q", "range", "from", "to"].map((name) => [name, params.value.get(name)]));
}

function EdgeTable({ edges, seconds }: { edges: Edge[]; seconds: number }) {
  return (
    <Scroll>
      <table>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col" class="number">
              Calls
            </th>
            <th scope="col" class="number">
              Rate
            </th>
            <th scope="col" class="number">
              Errors
            </th>
            <th scope="col" class="number">
              p95 at the server
            </th>
          </tr>
        </thead>
        <tbody>
          {edges.map((edge) => (
            <tr key={`${edge.client}\u0000${edge.server}`}>
              <td>
                <Chip name={edge.client} /> <Text value={edge.client || "unknown"} />
              </td>
              <td>
                <a href={traces(edge)}>
                  <Chip name={edge.server} /> <Text value={edge.server || "unknown"} />
                </a>
                {edge.kind !== "" && <span class="muted"> {edge.kind.replaceAll("_", " ")}</span>}
              </td>
              <td class="number">{integer(Math.round(edge.calls))}</td>
              <td class="number">{rate(edge.calls / seconds)}</td>
              <td class={edge.errors > 0 ? "number error" : "number"}>
                {edge.errors > 0 ? `✕ ${integer(Math.round(edge.errors))}` : "0"}
              </td>
              <td class="number">{edge.p95 > 0 ? `≈ ${duration(edge.p95 * 1e9)}` : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Traces in which both services are; what is called may be a database without spans of its own. */
function traces(edge: Edge): string {
  const of = (name: string) => `{ resource.service.name = ${quote(name)} }`;
  const q = edge.kind === "" ? `${of(edge.client)} >> ${of(edge.server)}` : of(edge.client);
  const { range, from, to } = current();
  return address("search", { q, range, from, to });
}
