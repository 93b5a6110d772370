import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { config } from "../api";
import { QueryField } from "../editor/field";
import { duration, integer } from "../format";
import { useLoaded } from "../loaded";
import { series, stepFor } from "../metrics";
import { tooLong } from "../range";
import { fixed, RangeSelect, useRange } from "../range-select";
import { address, navigate, padded, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { useCheck } from "../search/check";
import { Problem } from "../search/problem";
import { Text } from "../text";
import { isDark } from "../theme";
import { save } from "../trace/actions";
import { colourOf, type Kind, Plot } from "./plot";
import { csvOf, tableOf } from "./table";

const POINTS = 120;
const EXEMPLARS = 30;
const KINDS: Kind[] = ["line", "bar"];
/** Queries whose values are seconds. */
const IS_TIME =
  /^[^|]*\|\s*((min|max|avg|sum|quantile)_over_time\(\s*(span:duration|duration)\b|service_graph\(\s*(client|server)_latency\s*,)/;
const EXAMPLES = [
  "{ } | rate() by (resource.service.name)",
  "{ status = error } | rate() by (resource.service.name)",
  "{ kind = server } | quantile_over_time(duration, .5, .95, .99)",
  "{ } | count_over_time() by (name)",
];

/** Any metrics query as a plot and a table. */
export function ExplorePage() {
  const q = params.value.get("q") ?? "";
  const kind = KINDS.find((kind) => kind === params.value.get("view")) ?? "line";
  const [text, setText] = useState(q);
  const { range, again } = useRange();
  const problem = useCheck(text, "metrics");
  const wrong = tooLong(range, config.value?.limits.metricsSeconds ?? 0, "Metrics");
  const step = stepFor(range, POINTS);
  const key = q === "" || wrong ? null : `${q} ${range.from} ${range.to}`;
  const loaded = useLoaded(key, (signal) => series(q, range, step, signal, EXEMPLARS));
  const table = useMemo(() => (loaded.value ? tableOf(loaded.value) : null), [loaded.value]);
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const canvas = useRef<HTMLCanvasElement | null>(null);
  useEffect(() => {
    document.title = "Explore – Tactus";
  }, []);
  useEffect(() => setText(q), [q]);
  useEffect(() => setHidden(new Set()), [q]);
  const said = wrong ?? loaded.problem;
  const isTime = IS_TIME.test(q);
  const format = (value: number) =>
    isTime ? duration(value * 1e9) : `${Number(value.toPrecision(3)).toLocaleString("en")}`;
  const run = (query: string) => (query === q ? again() : setParams({ q: query || null }, false));
  return (
    <main>
      <h1 class="hidden">Explore metrics</h1>
      <form
        class="query"
        onSubmit={(event) => {
          event.preventDefault();
          run(text.trim());
        }}
      >
        <QueryField
          value={text}
          set={setText}
          range={range}
          label="TraceQL metrics query"
          placeholder="{ } | rate() by (resource.service.name)"
          isWrong={problem !== null}
        />
        <RangeSelect />
        <button type="submit" class="primary">
          Run
        </button>
      </form>
      <div id="query-problem" class="problem" aria-live="polite">
        {problem && <Problem query={text} problem={problem} />}
      </div>
      {q === "" && (
        <ul class="hint">
          {EXAMPLES.map((example) => (
            <li key={example}>
              <button type="button" class="link mono" onClick={() => run(example)}>
                {example}
              </button>
            </li>
          ))}
        </ul>
      )}
      {said !== null && (
        <p class="error" role="alert">
          ✕ {said}
        </p>
      )}
      {key !== null && said === null && table === null && <p role="status">reading…</p>}
      {table?.series.length === 0 && <p class="hint">No span in this range matches.</p>}
      {table && table.series.length > 0 && (
        <>
          <div class="tools">
            <span role="status">
              {integer(table.series.length)} series · step {step} s
            </span>
            <span class="space" />
            <fieldset class="choice" aria-label="Plot">
              {KINDS.map((one) => (
                <button
                  key={one}
                  type="button"
                  aria-pressed={one === kind}
                  onClick={() => setParams({ view: one === "line" ? null : one })}
                >
                  {one === "line" ? "Lines" : "Bars"}
                </button>
              ))}
            </fieldset>
            <button
              type="button"
              onClick={() => save(new Blob([csvOf(table)], { type: "text/csv" }), "tactus-metrics.csv")}
            >
              CSV
            </button>
            <button
              type="button"
              onClick={() =>
                canvas.current?.toBlob((picture) => picture && save(picture, "tactus-metrics.png"))
              }
            >
              PNG
            </button>
          </div>
          <Plot
            table={table}
            kind={kind}
            hidden={hidden}
            format={format}
            zoom={(from, to) => setParams(fixed({ from: Math.floor(from), to: Math.ceil(to) }), false)}
            open={({ traceId }) => navigate(address(`trace/${padded(traceId)}`))}
            ready={(found) => {
              canvas.current = found;
            }}
          />
          <Legend table={table} hidden={hidden} setHidden={setHidden} format={format} />
        </>
      )}
    </main>
  );
}

interface LegendProps {
  table: ReturnType<typeof tableOf>;
  hidden: ReadonlySet<number>;
  setHidden(hidden: ReadonlySet<number>): void;
  format(value: number): string;
}

function Legend({ table, hidden, setHidden, format }: LegendProps) {
  const dark = isDark();
  const shown = (value: number | null) => (value === null ? "–" : format(value));
  const toggle = (at: number) => {
    const next = new Set(hidden);
    if (!next.delete(at)) next.add(at);
    setHidden(next);
  };
  return (
    <Scroll>
      <table>
        <thead>
          <tr>
            <th scope="col">Series</th>
            <th scope="col" class="number">
              Last
            </th>
            <th scope="col" class="number">
              Mean
            </th>
            <th scope="col" class="number">
              Highest
            </th>
            <th scope="col">Exemplars ◆</th>
          </tr>
        </thead>
        <tbody>
          {table.series.map((one, at) => (
            <tr key={one.name}>
              <td>
                <label>
                  <input type="checkbox" checked={!hidden.has(at)} onChange={() => toggle(at)} />{" "}
                  <span class="swatch" style={{ background: colourOf(at, dark) }} /> <Text value={one.name} />
                </label>
              </td>
              <td class="number">{shown(one.last)}</td>
              <td class="number">{shown(one.mean)}</td>
              <td class="number">{shown(one.max)}</td>
              <td>
                <span class="chips">
                  {one.exemplars.slice(0, 5).map(({ traceId, value, millis }) => (
                    <a key={`${traceId} ${millis}`} href={address(`trace/${padded(traceId)}`)}>
                      {format(value)}
                    </a>
                  ))}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
