import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { config } from "../api";
import { ErrorMessage } from "../error-message";
import { duration, integer, plain } from "../format";
import { columnsOf, zoomOf } from "../heatmap/grid";
import { SpanHeatmap } from "../heatmap/spans";
import { reading, useStreamed } from "../loaded";
import { lookOf } from "../looks";
import { type Exemplar, type Series, series, stepFor } from "../metrics";
import { NotWhole } from "../partial";
import { type Range, tooLong } from "../range";
import { fixed, useRange } from "../range-select";
import { address, navigate, padded, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { useCheck } from "../search/check";
import { Cost } from "../search/cost";
import { QueryBar } from "../search/query-bar";
import { ordered, SortHead, useOrder } from "../sorting";
import { Label } from "../text";
import { save } from "../trace/actions";
import { hiddenOf, hiddenParams } from "./hidden";
import { Plot } from "./plot";
import { questionOf } from "./question";
import { SeriesHeatmap } from "./series-heatmap";
import { csvOf, largest, nameOf, type Row, tableOf } from "./table";
import { Values } from "./values";

const POINTS = 120;
const EXEMPLARS = 30;
/** More series would be neither told apart nor drawn in a moment. */
const MOST_SERIES = 200;
const VIEWS = ["line", "bar", "heatmap", "table"] as const;
const TITLES = { line: "Lines", bar: "Bars", heatmap: "Heatmap", table: "Table" };
const EXAMPLES = [
  "{ } | rate() by (resource.service.name)",
  "{ status = error } | rate() by (resource.service.name)",
  "{ kind = server } | quantile_over_time(duration, .5, .95, .99) with(buckets=4)",
  "{ kind = server } | histogram_over_time(duration) with(buckets=4)",
  "{ } | count_over_time() by (name)",
];

/** Any metrics query as a plot and a table. */
export function ExplorePage() {
  const q = params.value.get("q") ?? "";
  const [text, setText] = useState(q);
  const limit = config.value?.limits.metricsSeconds ?? 0;
  const { range, run, again } = useRange(limit);
  const { problem, cost } = useCheck(text, "metrics", range);
  const wrong = tooLong(range, limit, "Metrics");
  const step = stepFor(range, POINTS);
  const key = q === "" || wrong ? null : `${q} ${range.from} ${range.to} ${run}`;
  const loaded = useStreamed<Series[]>(key, (signal, show) =>
    series(q, range, step, signal, EXEMPLARS, show),
  );
  const { value, done, progress } = loaded;
  const question = useMemo(() => questionOf(q), [q]);
  const all = useMemo(() => (value ? tableOf(value, question.isGapAtZero) : null), [value, question]);
  const table = useMemo(() => all && largest(all, MOST_SERIES), [all]);
  const isHistogram = value?.some(({ labels }) => labels.__bucket !== undefined) ?? false;
  const view = VIEWS.find((view) => view === params.value.get("view")) ?? (isHistogram ? "heatmap" : "line");
  const names = useMemo(() => table?.series.map(({ name }) => name) ?? [], [table]);
  const [out, only] = [params.value.get("hidden"), params.value.get("shown")];
  const hidden = useMemo(() => hiddenOf(names, out, only), [names, out, only]);
  const canvas = useRef<HTMLCanvasElement | null>(null);
  useEffect(() => {
    document.title = "Explore – Tactus";
  }, []);
  useEffect(() => setText(q), [q]);
  // The field says it already, and where.
  const isToldAbove = problem !== null && text.trim() === q.trim();
  const said = wrong ?? (isToldAbove ? null : loaded.problem);
  const format = (value: number) => {
    const shown = question.isTime ? duration(value * 1e9) : plain(value);
    return question.isRough || question.isSampled ? `≈ ${shown}` : shown;
  };
  const zoom = (range: Range) => setParams({ ...fixed(range), box: null }, false);
  const ready = (found: HTMLCanvasElement) => {
    canvas.current = found;
  };
  const ask = (query: string) => {
    // A range that ends now follows the clock.
    again();
    if (query !== q) setParams({ q: query || null, hidden: null, shown: null, box: null }, false);
  };
  return (
    <main>
      <h1 class="hidden">Explore metrics</h1>
      <QueryBar
        value={text}
        set={setText}
        range={range}
        label="TraceQL metrics query"
        placeholder="{ } | rate() by (resource.service.name)"
        problem={problem}
        limit={limit}
        run={() => ask(text.trim())}
      />
      <Cost cost={cost} />
      {q === "" && (
        <ul class="hint">
          {EXAMPLES.map((example) => (
            <li key={example}>
              <button type="button" class="link mono" onClick={() => ask(example)}>
                {example}
              </button>
            </li>
          ))}
        </ul>
      )}
      <ErrorMessage text={said} />
      {key !== null && wrong === null && loaded.problem === null && table === null && (
        <p role="status">{reading(loaded)}</p>
      )}
      <NotWhole messages={[progress.message]} />
      {done && table?.series.length === 0 && <p class="hint">No span in this range matches.</p>}
      {table && table.series.length > 0 && (
        <>
          <div class="tools">
            <span role="status">
              {integer(all?.series.length ?? 0)} series · step {step} s{question.isSampled && " · ≈ sampled"}
              {!done && (
                <span class="streaming">
                  {" "}
                  · <span aria-hidden="true">●</span> {reading(loaded)}
                </span>
              )}
            </span>
            <span class="space" />
            <fieldset class="choice" aria-label="Plot">
              {VIEWS.map((one) => (
                <button
                  key={one}
                  type="button"
                  aria-pressed={one === view}
                  onClick={() => setParams({ view: one }, false)}
                >
                  {TITLES[one]}
                </button>
              ))}
            </fieldset>
            <button
              type="button"
              onClick={() =>
                save(new Blob([csvOf(all ?? table)], { type: "text/csv" }), "tactus-metrics.csv")
              }
            >
              CSV
            </button>
            <button
              type="button"
              disabled={view === "table"}
              onClick={() =>
                canvas.current?.toBlob((picture) => picture && save(picture, "tactus-metrics.png"))
              }
            >
              PNG
            </button>
          </div>
          {all && all.series.length > MOST_SERIES && view !== "table" && (
            <p class="strip">
              ! Only the {integer(MOST_SERIES)} largest series are shown; CSV has all of them.
            </p>
          )}
          {(view === "line" || view === "bar") && (
            <Plot
              table={table}
              range={range}
              step={step}
              kind={view}
              isStacked={question.isSum}
              hidden={hidden}
              format={format}
              zoom={(from, to) => {
                const part = zoomOf({ from, to }, columnsOf(range, step));
                if (part) zoom(part);
              }}
              open={(exemplar) => navigate(leadTo(exemplar))}
              ready={ready}
            />
          )}
          {view === "heatmap" && isHistogram && (
            <SpanHeatmap
              series={value ?? []}
              range={range}
              step={step}
              perDoubling={question.perDoubling}
              measured={question.measured}
              condition={question.condition}
              what={`Spans by ${question.measured.attribute}`}
              format={question.measured.unit === "ns" ? duration : plain}
              lead={(q, range) => address("search", { q, ...fixed(range) })}
              zoom={zoom}
              ready={ready}
            />
          )}
          {view === "heatmap" && !isHistogram && (
            <SeriesHeatmap
              series={value ?? []}
              range={range}
              step={step}
              format={format}
              zoom={zoom}
              ready={ready}
            />
          )}
          {view === "table" ? (
            <Values table={table} count={all?.series.length ?? 0} format={format} />
          ) : (
            <Legend
              table={table}
              isDrawn={view !== "heatmap"}
              isWhole={done}
              hidden={hidden}
              setHidden={(hidden) => setParams(hiddenParams(names, hidden))}
              format={format}
              size={(label) => {
                const { unit, perOne } = question.measured;
                return unit === "ns" ? duration(label * perOne) : plain(label * perOne);
              }}
            />
          )}
        </>
      )}
    </main>
  );
}

/** The span that an exemplar is of, in its trace: the time of an exemplar is the start of its span. */
function leadTo({ traceId, spanId, millis }: Exemplar): string {
  const span = spanId === null ? { started: `${millis}` } : { span: spanId };
  return address(`trace/${padded(traceId)}`, span);
}

const ORDERS = ["series", "last", "mean", "max"] as const;
const TITLES_OF = { series: "Series", last: "Last", mean: "Mean", max: "Highest" };
/** Exemplars of a series that are told. */
const MOST_TOLD = 5;

interface LegendProps {
  table: ReturnType<typeof tableOf>;
  /** Each series has a look of its own above, and may be left out there. */
  isDrawn: boolean;
  /** The answer is complete: its exemplars are no longer others a moment later. */
  isWhole: boolean;
  hidden: ReadonlySet<number>;
  setHidden(hidden: ReadonlySet<number>): void;
  format(value: number): string;
  /** The bound of a bucket, as its label has it. */
  size(label: number): string;
}

function Legend({ table, isDrawn, isWhole, hidden, setHidden, format, size }: LegendProps) {
  const head = useOrder<(typeof ORDERS)[number]>(ORDERS, { by: "series", ascending: true });
  const { order } = head;
  const title = ({ name, labels: { __bucket, ...labels }, texts }: Row) => {
    if (__bucket === undefined) return name;
    const others = Object.keys(labels).length > 0 ? `${nameOf({ labels, texts })} ` : "";
    return `${others}up to ${size(Number(__bucket))}`;
  };
  const shown = (value: number | null) => (value === null ? "–" : format(value));
  // A look, and whether it is left out, goes with the place in the answer.
  const rows = table.series.map((one, at) => ({ one, at }));
  const value = ({ one, at }: (typeof rows)[number]) =>
    order.by === "series" ? at : (one[order.by] ?? Number.NEGATIVE_INFINITY);
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
            {ORDERS.map((column) => (
              <SortHead key={column} column={column} isText={column === "series"} {...head}>
                {TITLES_OF[column]}
              </SortHead>
            ))}
            <th scope="col">Exemplars ◆</th>
          </tr>
        </thead>
        <tbody>
          {ordered(rows, value, order.ascending).map(({ one, at }) => (
            <tr key={one.name}>
              <td>
                {isDrawn ? (
                  <label class="series">
                    <input type="checkbox" checked={!hidden.has(at)} onChange={() => toggle(at)} />{" "}
                    <span class={`swatch ${lookOf(at)}`} /> <Label value={title(one)} />
                  </label>
                ) : (
                  <Label value={title(one)} />
                )}
              </td>
              <td class="number">{shown(one.last)}</td>
              <td class="number">{shown(one.mean)}</td>
              <td class="number">{shown(one.max)}</td>
              <td>
                <span class="chips">
                  {isWhole &&
                    one.exemplars.slice(0, MOST_TOLD).map((exemplar) => (
                      <a key={`${exemplar.traceId} ${exemplar.millis}`} href={leadTo(exemplar)}>
                        {format(exemplar.value)}
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
