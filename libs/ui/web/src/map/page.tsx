import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { config, reason } from "../api";
import { ErrorMessage } from "../error-message";
import { duration, integer, rate, timesAmong } from "../format";
import { Heads } from "../heads";
import { useLoaded } from "../loaded";
import { values } from "../metrics";
import { named, visible } from "../names";
import { NotWhole } from "../partial";
import { type Range, seconds, tooLong } from "../range";
import { fixed, useRange } from "../range-select";
import { address, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { FILTER_WANTED, useCheck } from "../search/check";
import { QueryBar } from "../search/query-bar";
import { Chip } from "../search/results";
import { isMetrics, withStage } from "../search/stage";
import { Label } from "../text";
import { drawn, MOST_EDGES } from "./drawn";
import {
  type Change,
  changeOf,
  changesOf,
  type Edge,
  edgesOf,
  failed,
  keyOf,
  near,
  spansOf,
  turnOf,
} from "./edges";
import { Graph, NotDrawn } from "./graph";
import type { Drawn } from "./layout";

/** Windows to compare with: how far before, as the address has it. */
const EARLIER = [
  ["", "no comparison"],
  ["before", "the time before"],
  ["1h", "1 hour before"],
  ["24h", "1 day before"],
  ["7d", "1 week before"],
] as const;
const HOPS = [1, 2, 3];

interface Asked {
  filter: string;
  range: Range;
  focus: string;
  hops: number;
  /** Seconds before the range; null compares with nothing. */
  earlier: number | null;
}

interface Loaded {
  /** All services there are, also those that are not near. */
  names: string[];
  changes: Change[];
  hidden: number;
  /** Or why it cannot be drawn: the table has the same. */
  drawn: Drawn | string;
  /** What the server says of answers that are not whole. */
  messages: string[];
}

async function edgesIn(filter: string, range: Range, signal: AbortSignal, told: string[]): Promise<Edge[]> {
  const of = (stage: string, hint?: string) =>
    values(withStage(filter, stage, hint), range, signal, (_, { message }) => told.push(message));
  const [counts, latency] = await Promise.all([
    of("service_graph()"),
    of("service_graph(server_latency, .95)", "buckets=4"),
  ]);
  return edgesOf(counts, latency);
}

async function load({ filter, range, focus, hops, earlier }: Asked, signal: AbortSignal): Promise<Loaded> {
  const back = earlier ?? 0;
  const messages: string[] = [];
  const [now, before] = await Promise.all([
    edgesIn(filter, range, signal, messages),
    earlier === null
      ? []
      : edgesIn(filter, { from: range.from - back, to: range.to - back }, signal, messages),
  ]);
  const drawnAs = ({ now, before }: Change) => (now.calls > 0 ? now : before);
  // Edges that are gone are there to be seen.
  const known = changesOf(now, before);
  const wanted = new Set(near(known.map(drawnAs), focus, hops));
  const all = known.filter((change) => wanted.has(drawnAs(change)));
  if (earlier === null) all.sort((a, b) => b.now.calls - a.now.calls);
  const changes = all.slice(0, MOST_EDGES);
  const names = new Set(known.map(drawnAs).flatMap(({ client, server }) => [client, server]));
  const letters = earlier === null ? undefined : lettersOf(changes);
  const picture = await drawn(changes.map(drawnAs), signal, letters).catch((error) => {
    if (signal.aborted) throw error;
    return reason(error) ?? "";
  });
  return {
    names: [...names].filter(Boolean).sort(),
    changes,
    hidden: all.length - changes.length,
    drawn: picture,
    messages,
  };
}

/** Which services call which, of any spans at any time. */
export function MapPage() {
  const filter = params.value.get("q") ?? "{ }";
  const focus = params.value.get("focus") ?? "";
  const [text, setText] = useState(filter);
  const limit = config.value?.limits.metricsSeconds ?? 0;
  const { range, run, again } = useRange(limit);
  const { problem: wrongQuery } = useCheck(text, "filter", range);
  const wrong = isMetrics(filter) ? FILTER_WANTED : tooLong(range, limit, "The map");
  const hops = HOPS.find((hops) => `${hops}` === params.value.get("hops")) ?? 1;
  const against = EARLIER.find(([name]) => name === params.value.get("against"))?.[0] ?? "";
  const length = range.to - range.from;
  const earlier = against === "" ? null : against === "before" ? length : seconds(against);
  const back = earlier ?? 0;
  const before = { from: range.from - back, to: range.to - back };
  const asked = { filter, range, focus, hops, earlier };
  const key = wrong ? null : `${run} ${JSON.stringify(asked)}`;
  const { value, problem } = useLoaded(key, (signal) => load(asked, signal));
  // What can be chosen stays while another choice is read.
  const names = useRef<string[]>([]);
  if (value) names.current = value.names;
  const changes = value?.changes ?? [];
  const changeOfEdge = useMemo(
    () => new Map(changes.flatMap((change) => [change.now, change.before].map((edge) => [edge, change]))),
    [value],
  );
  useEffect(() => {
    document.title = "Map – Tactus";
  }, []);
  useEffect(() => setText(filter), [filter]);
  const time = timesAmong([before.from, before.to].map((seconds) => seconds * 1000));
  // The field says it already, and where.
  const isToldAbove = wrongQuery !== null && text.trim() === filter.trim();
  const said = isToldAbove ? null : (wrong ?? problem);
  return (
    <main>
      <h1 class="hidden">Map of services</h1>
      <QueryBar
        value={text}
        set={setText}
        range={range}
        label="TraceQL filter of the calls"
        problem={wrongQuery}
        limit={limit}
        run={() => {
          // A range that ends now follows the clock.
          again();
          if (text.trim() !== filter) setParams({ q: text.trim() || null }, false);
        }}
      >
        <label class="hidden" for="against">
          Compare with
        </label>
        <select
          id="against"
          value={against}
          onChange={(event) => setParams({ against: event.currentTarget.value || null }, false)}
        >
          {EARLIER.map(([name, title]) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </QueryBar>
      {(names.current.length > 2 || focus !== "") && (
        <p>
          <label>
            Calls from and to{" "}
            <select
              value={focus}
              onChange={({ currentTarget: { value } }) =>
                setParams({ focus: value || null, ...(value === "" && { hops: null }) }, false)
              }
            >
              <option value="">all services</option>
              {[...new Set([...names.current, ...(focus === "" ? [] : [focus])])].map((name) => (
                <option key={name} value={name}>
                  {visible(named(name))}
                </option>
              ))}
            </select>
          </label>{" "}
          {focus !== "" && (
            <label>
              within{" "}
              <select
                value={`${hops}`}
                onChange={(event) => setParams({ hops: event.currentTarget.value }, false)}
              >
                {HOPS.map((hops) => (
                  <option key={hops} value={`${hops}`}>
                    {hops} {hops === 1 ? "call" : "calls"}
                  </option>
                ))}
              </select>
            </label>
          )}
        </p>
      )}
      <ErrorMessage text={said} />
      {wrong === null && problem === null && value === null && <p role="status">reading…</p>}
      {value && <NotWhole messages={value.messages} />}
      {value?.changes.length === 0 && <p class="hint">No call between services was stored in this range.</p>}
      {value && <NotDrawn count={value.hidden} />}
      {value && value.changes.length > 0 && (
        <>
          {earlier !== null && (
            <p class="muted">
              Difference from {time(before.from * 1000)} – {time(before.to * 1000)}: calls, and their p95 at
              the server. <span class="worse">▲ worse</span>, <span class="better">▽ better</span>: by a
              quarter of the duration, or one in a hundred calls that fails.
            </p>
          )}
          {typeof value.drawn === "string" ? (
            <p class="error">✕ no map: {value.drawn}</p>
          ) : (
            <Graph
              drawn={value.drawn}
              label={(edge) => {
                const change = changeOfEdge.get(edge);
                return earlier === null || !change ? rate(edge.calls / length) : shortly(change);
              }}
              turn={
                earlier === null
                  ? undefined
                  : (edge) => {
                      const change = changeOfEdge.get(edge);
                      return change ? turnOf(change) : "same";
                    }
              }
              focus={focus}
              lead={(name) => address("map", { ...current(), focus: name })}
            />
          )}
          {earlier === null ? (
            <EdgeTable edges={value.changes.map(({ now }) => now)} seconds={length} />
          ) : (
            <ChangeTable changes={value.changes} seconds={length} earlier={before} />
          )}
        </>
      )}
    </main>
  );
}

function current(): Record<string, string | null> {
  return Object.fromEntries(
    ["q", "range", "from", "to", "against", "hops"].map((name) => [name, params.value.get(name)]),
  );
}

/** A change in the few words that an edge of the map has room for. */
function shortly(change: Change): string {
  const { now, before } = change;
  const turn = turnOf(change);
  if (turn === "new" || turn === "gone") return turn;
  const calls = changeOf(now.calls, before.calls);
  if (turn === "same") return calls;
  const mark = turn === "worse" ? "▲" : "▽";
  const [failing, failedBefore] = [now, before].map((edge) => Math.round(failed(edge) * 100));
  const errors = failing === failedBefore ? "" : ` ✕ ${failedBefore} → ${failing} %`;
  return `${mark} ${calls} p95 ${changeOf(now.p95, before.p95)}${errors}`;
}

function lettersOf(changes: Change[]): number {
  return changes.reduce((most, change) => Math.max(most, shortly(change).length), 0);
}

function EdgeTable({ edges, seconds }: { edges: Edge[]; seconds: number }) {
  return (
    <Scroll>
      <table>
        <Heads
          columns={[
            "From",
            "To",
            { number: "Calls" },
            { number: "Rate" },
            { number: "Errors" },
            { number: "≈ p95 at the server" },
          ]}
        />
        <tbody>
          {edges.map((edge) => (
            <tr key={keyOf(edge)}>
              <Names edge={edge} />
              <td class="number">{integer(Math.round(edge.calls))}</td>
              <td class="number">{rate(edge.calls / seconds)}</td>
              <td class={edge.errors > 0 ? "number error" : "number"}>
                {edge.errors > 0 ? `✕ ${integer(Math.round(edge.errors))}` : "0"}
              </td>
              <td class="number">{latency(edge)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

const VIRTUAL = "sent no spans";

/** `within`: when the calls were, if that is not the range of the page. */
function Names({ edge, within }: { edge: Edge; within?: Range }) {
  const ofServer =
    edge.virtual === "server" ? VIRTUAL : edge.virtual === "" ? edge.kind.replaceAll("_", " ") : "";
  return (
    <>
      <td>
        <Chip name={edge.client} /> <Label value={edge.client} none="unknown" />
        {edge.virtual === "client" && <span class="muted"> {VIRTUAL}</span>}
      </td>
      <td>
        <a href={traces(edge, within)}>
          <Chip name={edge.server} /> <Label value={edge.server} none="unknown" />
        </a>
        {ofServer !== "" && <span class="muted"> {ofServer}</span>}
      </td>
    </>
  );
}

function latency(edge: Edge): string {
  return edge.p95 > 0 ? duration(edge.p95 * 1e9) : "–";
}

interface ChangeTableProps {
  changes: Change[];
  seconds: number;
  /** What the range is compared with. */
  earlier: Range;
}

function ChangeTable({ changes, seconds, earlier }: ChangeTableProps) {
  const share = (edge: Edge) => (edge.calls > 0 ? `${(failed(edge) * 100).toFixed(1)} %` : "–");
  const rated = (edge: Edge) => (edge.calls > 0 ? rate(edge.calls / seconds) : "–");
  return (
    <Scroll>
      <table>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">Turn</th>
            {["Rate", "Errors", "≈ p95 at the server"].map((title) => (
              <th key={title} scope="col" class="number">
                {title}: before → now
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {changes.map((change) => {
            const { now, before } = change;
            const turn = turnOf(change);
            return (
              <tr key={keyOf(now)}>
                <Names edge={now} within={turn === "gone" ? earlier : undefined} />
                <td class={turn}>{turn}</td>
                <td class="number">
                  {rated(before)} → {rated(now)}{" "}
                  <span class="muted">{changeOf(now.calls, before.calls)}</span>
                </td>
                <td class="number">
                  {share(before)} → {share(now)}
                </td>
                <td class="number">
                  {latency(before)} → {latency(now)}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Traces with spans of the call. */
function traces(edge: Edge, within?: Range): string {
  const { range, from, to } = current();
  return address("search", { q: spansOf(edge), ...(within ? fixed(within) : { range, from, to }) });
}
