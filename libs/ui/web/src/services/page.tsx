import { useEffect } from "preact/hooks";
import { config } from "../api";
import { ErrorMessage } from "../error-message";
import { duration, notShown, percent, rate } from "../format";
import { SpanHeatmap } from "../heatmap/spans";
import { reading, useStreamed } from "../loaded";
import { type Series, series, stepFor } from "../metrics";
import { visible } from "../names";
import { NotWhole } from "../partial";
import { type Range, tooLong } from "../range";
import { fixed, RangeSelect, rangeParams, useRange } from "../range-select";
import { address, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { Differences } from "../search/differences";
import { quote } from "../search/form";
import { Chip } from "../search/results";
import { ordered, SortHead, useOrder } from "../sorting";
import { Label, Text } from "../text";
import { BUCKETS, type Row, requestsTo, rows } from "./query";

/** Rows that are shown: names with ids in them are as many as requests. */
const SHOWN = 500;

const SORTED = ["name", "rate", "errors", "p50", "p95", "p99", "total"] as const;

/** Rate, errors and durations of services, and of the operations of one. */
export function ServicesPage() {
  const service = params.value.get("service") ?? "";
  const limit = config.value?.limits.metricsSeconds ?? 0;
  const { range, run, again } = useRange(limit);
  const wrong = tooLong(range, limit, "Services");
  const by = service === "" ? "resource.service.name" : "name";
  const condition = requestsTo(service);
  const key = wrong ? null : `${range.from} ${range.to} ${run} ${condition}`;
  const streamed = useStreamed<Row[]>(key, (signal, show) => rows(condition, by, range, signal, show));
  const { value, problem, done, progress } = streamed;
  useEffect(() => {
    document.title = service === "" ? "Services – Tactus" : `${visible(service)} – Tactus`;
  }, [service]);
  const said = wrong ?? problem;
  return (
    <main>
      <div class="tools">
        <h1>{service === "" ? "Services" : <Text value={service} />}</h1>
        {service !== "" && <a href={address("services", rangeParams())}>all services</a>}
        <span class="space" />
        <RangeSelect limit={limit} />
        <button type="button" onClick={again}>
          Load again
        </button>
      </div>
      <p class="muted">
        Requests: spans of kind server or consumer, and spans without a parent. Quantiles are estimates, less
        than a fifth off. <span role="status">{said === null && reading(streamed)}</span>
      </p>
      <ErrorMessage text={said} />
      <NotWhole messages={[progress.message]} />
      {done && value?.length === 0 && <p class="hint">No request was stored in this range.</p>}
      {value !== null && value.length > 0 && (
        <>
          <Requests condition={condition} range={range} above={progress.message} />
          <Table rows={value} service={service} />
        </>
      )}
    </main>
  );
}

const COLUMNS = 90;
const DURATION = { attribute: "duration", unit: "ns", perOne: 1e9 };

/** Requests by time and duration. */
function Requests({ condition, range, above }: { condition: string; range: Range; above: string }) {
  const step = stepFor(range, COLUMNS);
  const query = `{ ${condition} } | histogram_over_time(duration) with(buckets=${BUCKETS})`;
  const { value, problem, progress } = useStreamed<Series[]>(
    `${condition} ${range.from} ${range.to}`,
    (signal, show) => series(query, range, step, signal, 0, show),
  );
  if (problem !== null) return <p class="muted">no heatmap: {problem}</p>;
  if (value === null) return <div class="heatmap" aria-busy="true" />;
  return (
    <>
      <NotWhole messages={[progress.message]} above={above} />
      <SpanHeatmap
        series={value}
        range={range}
        step={step}
        perDoubling={BUCKETS}
        measured={DURATION}
        condition={condition}
        what="Requests by duration"
        format={duration}
        lead={(q, range) => address("search", { q, ...fixed(range) })}
        differences={(q, range) => <Differences all={`{ ${condition} }`} selection={q} range={range} />}
      />
    </>
  );
}

function Table({ rows, service }: { rows: Row[]; service: string }) {
  const head = useOrder(SORTED, { by: "total", ascending: false });
  const { order } = head;
  const most = rows.reduce((most, { total }) => Math.max(most, total), Number.MIN_VALUE);
  const hidden = Math.max(0, rows.length - SHOWN);
  // A box of the heatmap of all is none of that of one.
  const open = (row: Row) => setParams({ service: row.name, box: null, differs: null }, false);
  // No query finds the spans whose service has sent no name.
  const isFound = (row: Row) => service !== "" || row.name !== "";
  const traces = (row: Row, condition: string) => {
    const all = requestsTo(service === "" ? row.name : service);
    const name = service === "" ? "" : ` && name = ${quote(row.name)}`;
    return address("search", { q: `{ ${all}${name}${condition} }`, ...rangeParams() });
  };
  return (
    <Scroll>
      {hidden > 0 && <p class="strip">! {notShown(hidden, service === "" ? "service" : "operation")}</p>}
      <table>
        <thead>
          <tr>
            <SortHead column="name" isText {...head}>
              {service === "" ? "Service" : "Operation"}
            </SortHead>
            <SortHead column="rate" {...head}>
              Rate
            </SortHead>
            <SortHead column="errors" {...head}>
              Errors
            </SortHead>
            <SortHead column="p50" {...head}>
              p50
            </SortHead>
            <SortHead column="p95" {...head}>
              p95
            </SortHead>
            <SortHead column="p99" {...head}>
              p99
            </SortHead>
            <SortHead column="total" {...head}>
              Share of time
            </SortHead>
          </tr>
        </thead>
        <tbody>
          {ordered(rows, (row) => row[order.by], order.ascending)
            .slice(0, SHOWN)
            .map((row) => (
              <tr key={row.name}>
                <td>
                  {!isFound(row) ? (
                    <>
                      <Chip name={row.name} /> <Label value={row.name} none="unknown service" />
                    </>
                  ) : service === "" ? (
                    <button type="button" class="link" onClick={() => open(row)}>
                      <Chip name={row.name} /> <Label value={row.name} />
                    </button>
                  ) : (
                    <a href={traces(row, "")}>
                      <Label value={row.name} />
                    </a>
                  )}
                </td>
                <td class="number">
                  <Spark values={row.spark} /> {rate(row.rate)}
                </td>
                <td class="number">
                  {row.errors === 0 ? (
                    "0 %"
                  ) : isFound(row) ? (
                    <a class="error" href={traces(row, " && status = error")}>
                      ✕ {percent(row.errors)}
                    </a>
                  ) : (
                    <span class="error">✕ {percent(row.errors)}</span>
                  )}
                </td>
                <td class="number">{quantile(row.p50)}</td>
                <td class="number">{quantile(row.p95)}</td>
                <td class="number">
                  {row.p99 > 0 && isFound(row) ? (
                    <a href={traces(row, ` && duration > ${bucketBelow(row.p99)}ns`)}>{quantile(row.p99)}</a>
                  ) : (
                    quantile(row.p99)
                  )}
                </td>
                <td class="number middle">
                  <meter min={0} max={most} value={row.total} aria-label={duration(row.total * 1e9)} />
                </td>
              </tr>
            ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** A quantile in seconds; 0 is none: those of some spans are above that. */
function quantile(seconds: number): string {
  return seconds > 0 ? duration(seconds * 1e9) : "–";
}

/** The lower bound in nanoseconds of the bucket that an estimate lies in: what it counts is longer than that. */
function bucketBelow(seconds: number): number {
  // What is exactly a bound may seem to be a bit more.
  const bucket = Math.ceil(Math.log2(seconds * 1e9) * BUCKETS - 1e-6);
  return Math.floor(2 ** ((bucket - 1) / BUCKETS));
}

function Spark({ values }: { values: number[] }) {
  const highest = Math.max(...values, Number.MIN_VALUE);
  const path = values
    .map((value, x) => (value > 0 ? `M${x} 12V${12 - (value / highest) * 12}` : ""))
    .join("");
  return (
    <svg
      class="spark"
      viewBox={`-0.5 0 ${Math.max(1, values.length)} 12`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <path d={path} />
    </svg>
  );
}
