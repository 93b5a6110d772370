import { type Progress, type Series, series, stepFor, type Value, values } from "../metrics";
import { together } from "../partial";
import type { Range } from "../range";
import { quote } from "../search/form";

/** Spans that stand for a request to a service: what it serves or takes from a queue, and where a trace begins. */
const ENTRY = "(kind = server || kind = consumer || nestedSetParent < 0)";

/** The condition for requests to one service; to any for the empty name. */
export function requestsTo(service: string): string {
  return service === "" ? ENTRY : `resource.service.name = ${quote(service)} && ${ENTRY}`;
}

const POINTS = 40;

/** What is known of a service, or of an operation of one. Durations in seconds, rates a second. */
export interface Row {
  name: string;
  rate: number;
  /** Share of the rate. */
  errors: number;
  p50: number;
  p95: number;
  p99: number;
  /** Seconds in it, over the range. */
  total: number;
  spark: number[];
}

/** Buckets of a doubling: estimates are less than a fifth off. */
export const BUCKETS = 4;

/** One row a value of an attribute, of the spans of a condition. `show` is told what is known on the way. */
export async function rows(
  condition: string,
  by: string,
  range: Range,
  signal: AbortSignal,
  show: (soFar: Row[], progress: Progress) => void,
): Promise<Row[]> {
  const step = stepFor(range, POINTS);
  const filter = `{ ${condition} }`;
  const soFar: Parts = { sparks: [], rates: [], quantiles: [], totals: [] };
  const shares = { sparks: 0, rates: 0, quantiles: 0, totals: 0 };
  const messages = { sparks: "", rates: "", quantiles: "", totals: "" };
  const into = <P extends keyof Parts>(part: P) => {
    return (found: Parts[P], { share, message }: Progress) => {
      soFar[part] = found;
      shares[part] = share;
      messages[part] = message;
      const all = Object.values(shares);
      const mean = all.reduce((sum, share) => sum + share, 0) / all.length;
      show(join(by, soFar), { share: mean, message: together(Object.values(messages)) });
    };
  };
  const quantiles = `quantile_over_time(duration, .5, .95, .99) by (${by}) with(buckets=${BUCKETS})`;
  await Promise.all([
    series(`${filter} | rate() by (${by})`, range, step, signal, 0, into("sparks")),
    values(`${filter} | rate() by (${by}, status)`, range, signal, into("rates")),
    values(`${filter} | ${quantiles}`, range, signal, into("quantiles")),
    values(`${filter} | sum_over_time(duration) by (${by})`, range, signal, into("totals")),
  ]);
  return join(by, soFar);
}

/** What the queries say. */
interface Parts {
  sparks: Series[];
  rates: Value[];
  quantiles: Value[];
  totals: Value[];
}

export function join(by: string, { sparks, rates, quantiles, totals }: Parts): Row[] {
  const all = new Map<string, Row>();
  for (const { labels, value } of rates) {
    const name = labels[by] ?? "";
    const row = all.get(name) ?? { name, rate: 0, errors: 0, p50: 0, p95: 0, p99: 0, total: 0, spark: [] };
    row.rate += value;
    if (labels.status === "error") row.errors += value;
    all.set(name, row);
  }
  for (const row of all.values()) row.errors = row.rate > 0 ? row.errors / row.rate : 0;
  for (const { labels, points } of sparks) {
    const into = all.get(labels[by] ?? "");
    if (into) into.spark = points.map(([, value]) => value);
  }
  const row = ({ labels }: Value) => all.get(labels[by] ?? "");
  for (const found of quantiles) {
    const into = row(found);
    const p = Number(found.labels.p);
    if (into && p === 0.5) into.p50 = found.value;
    if (into && p === 0.95) into.p95 = found.value;
    if (into && p === 0.99) into.p99 = found.value;
  }
  for (const found of totals) {
    const into = row(found);
    if (into) into.total = found.value;
  }
  return [...all.values()].filter(({ rate }) => rate > 0);
}
