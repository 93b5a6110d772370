import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { config, reason } from "../api";
import { duration, integer, plain, timesAmong } from "../format";
import { type Columns, columnsOf, spanOf, sumsOf, zoomOf } from "../heatmap/grid";
import { type Progress, type Series, series, stepFor } from "../metrics";
import { NotWhole } from "../partial";
import { type Range, tooLong } from "../range";
import { withStage } from "./stage";

const POINTS = 90;
const WIDTH = 600;
const HEIGHT = 72;

interface Data {
  step: number;
  rate: Series[];
  latency: Series[];
  messages: { rate: string; latency: string };
  done: boolean;
}

interface Shown {
  q: string;
  range: Range;
  /** Nothing is asked yet: what is asked besides takes from the server what the first result needs. */
  waits: boolean;
  /** What is said already of an answer that is not whole. */
  above?: string;
  zoom(range: Range): void;
}

/** Rate and errors, and quantiles of the duration, of the spans that a query finds. Dragging over one zooms. */
export function Charts({ q, range, waits, above, zoom }: Shown) {
  const data = useSignal<Data | null>(null);
  const problem = useSignal<string | null>(null);
  const wrong = tooLong(range, config.value?.limits.metricsSeconds ?? 0, "Charts");
  useEffect(() => {
    data.value = null;
    problem.value = wrong;
    if (wrong || waits) return;
    const stop = new AbortController();
    const step = stepFor(range, POINTS);
    const messages = { rate: "", latency: "" };
    const soFar: Data = { step, rate: [], latency: [], messages, done: false };
    const into =
      (part: "rate" | "latency") =>
      (found: Series[], { message }: Progress) => {
        soFar[part] = found;
        messages[part] = message;
        if (!stop.signal.aborted) data.value = { ...soFar };
      };
    const quantiles = withStage(q, "quantile_over_time(duration, .5, .95)", "buckets=4");
    Promise.all([
      series(withStage(q, "rate() by (status)"), range, step, stop.signal, 0, into("rate")),
      series(quantiles, range, step, stop.signal, 0, into("latency")),
    ]).then(
      () => {
        data.value = { ...soFar, done: true };
      },
      (error) => {
        if (!stop.signal.aborted) problem.value = reason(error);
      },
    );
    return () => stop.abort();
  }, [q, range, wrong, waits, data, problem]);
  if (problem.value !== null) return <p class="muted charts-none">no charts: {problem.value}</p>;
  const { step = stepFor(range, POINTS), rate = [], latency = [], messages } = data.value ?? {};
  const columns = columnsOf(range, step);
  const all = sumsOf(rate, columns);
  const errors = sumsOf(
    rate.filter(({ labels }) => labels.status === "error"),
    columns,
  );
  const quantile = (p: string) =>
    sumsOf(
      latency.filter(({ labels }) => Number(labels.p) === Number(p)),
      columns,
    );
  const [p50, p95] = [quantile("0.5"), quantile("0.95")];
  return (
    <>
      <NotWhole messages={Object.values(messages ?? {})} above={above} />
      <div class="charts" aria-busy={!data.value?.done}>
        <Chart
          title="spans a second"
          names={["all", "with an error"]}
          columns={columns}
          zoom={zoom}
          bars={[all, errors]}
          format={(value) => `${plain(value)}/s`}
          summary={`${integer(total(all, step))} spans, ${integer(total(errors, step))} with an error`}
        />
        <Chart
          title="duration"
          names={["≈ p95", "≈ p50"]}
          kind="latency"
          columns={columns}
          zoom={zoom}
          bars={[p95, p50]}
          format={(value) => duration(value * 1e9)}
          summary={`p95 up to ${duration(Math.max(...p95) * 1e9)}`}
        />
      </div>
    </>
  );
}

function total(values: number[], step: number): number {
  return Math.round(values.reduce((sum, value) => sum + value, 0) * step);
}

interface ChartProps {
  title: string;
  /** Of the bars. */
  names: [string, string];
  kind?: string;
  summary: string;
  columns: Columns;
  /** One a column, the second over the first. */
  bars: [number[], number[]];
  format(value: number): string;
  zoom(range: Range): void;
}

function Chart({ title, names, kind, summary, columns, bars, format, zoom }: ChartProps) {
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const plot = useRef<SVGSVGElement>(null);
  const highest = Math.max(...bars[0], ...bars[1]);
  const width = WIDTH / bars[0].length;
  const { from, to } = spanOf(columns);
  const time = timesAmong([from * 1000, to * 1000]);
  const place = (event: PointerEvent) => {
    const box = plot.current?.getBoundingClientRect();
    return box ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) : 0;
  };
  const finish = () => {
    setDrag(null);
    if (!drag) return;
    const [first, last] = drag[0] < drag[1] ? drag : [drag[1], drag[0]];
    const at = (share: number) => from + share * (to - from);
    const part = last - first > 0.005 ? zoomOf({ from: at(first), to: at(last) }, columns) : null;
    if (part) zoom(part);
  };
  const path = (values: number[]) =>
    values
      .map((value, slot) => {
        const height = highest > 0 ? (Math.max(0, value) / highest) * HEIGHT : 0;
        const x = (slot * width).toFixed(2);
        return value > 0
          ? `M${x} ${HEIGHT}v-${height.toFixed(2)}h${Math.max(0.5, width - 0.5).toFixed(2)}V${HEIGHT}z`
          : "";
      })
      .join("");
  return (
    <figure class={kind}>
      <figcaption>
        {title} {highest > 0 && <span class="muted">up to {format(highest)}</span>}
        <span class="legend muted">
          {(["first", "second"] as const).map((which, at) => (
            <span key={which}>
              <span class={`mark ${which}`} />
              {names[at]}
            </span>
          ))}
        </span>
      </figcaption>
      <svg
        ref={plot}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${summary}`}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          plot.current?.setPointerCapture(event.pointerId);
          setDrag([place(event), place(event)]);
        }}
        onPointerMove={(event) => {
          const share = place(event);
          setPointed(Math.min(bars[0].length - 1, Math.floor(share * bars[0].length)));
          if (drag) setDrag([drag[0], share]);
        }}
        onPointerLeave={() => setPointed(null)}
        onPointerUp={finish}
        onPointerCancel={() => setDrag(null)}
      >
        <path class="first" d={path(bars[0])} />
        <path class="second" d={path(bars[1])} />
        {drag && (
          <rect
            class="drag"
            x={Math.min(...drag) * WIDTH}
            width={Math.abs(drag[0] - drag[1]) * WIDTH}
            y={0}
            height={HEIGHT}
          />
        )}
      </svg>
      <div class="axis">
        <span>{time(from * 1000)}</span>
        <span class="pointed" aria-hidden="true">
          {pointed !== null && pointed < bars[0].length && (
            <>
              {time((columns.from + pointed * columns.step) * 1000)}: {names[0]} {format(bars[0][pointed])} ·{" "}
              {names[1]} {format(bars[1][pointed])}
            </>
          )}
        </span>
        <span>{time(to * 1000)}</span>
      </div>
    </figure>
  );
}
