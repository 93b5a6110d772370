import { conditionsOf, hintOf, metricsOf, tokensOf } from "../search/stage";

/** What can be told of a metrics query from its text: enough to show it well, the server decides the rest. */
export interface Question {
  /** Values are seconds. */
  isTime: boolean;
  /** The condition of the spans that a histogram counts, without braces; null if it has other stages. */
  condition: string | null;
  /** What a histogram measures, and in which units: see `SpanHeatmap`. */
  measured: { attribute: string; unit: string; perOne: number };
  /** Buckets of a doubling in histograms and quantiles. */
  perDoubling: number;
  /** A value of 0 stands for no span: quantiles of some spans are the bounds of buckets, which are above 0. */
  isGapAtZero: boolean;
  /** The sum of its series means something: they are counts. */
  isSum: boolean;
  /** Values are estimates that may be more than a fifth off. */
  isRough: boolean;
  /** Values are scaled up from a part of the spans. */
  isSampled: boolean;
}

const DURATION = /^(span:)?duration$/;
/** What buckets count in nanoseconds, and show in seconds. */
const TIMES = /^((span:|trace:)?duration|traceDuration|event:timeSinceStart)$/;
const LATENCY = /^(client|server)_latency$/;
/** Buckets of a doubling with which an estimate is less than a fifth off. */
const FINE = 4;

export function questionOf(query: string): Question {
  const { spans = "", name = "", args = [], isPlain = false } = metricsOf(query) ?? {};
  const [first = "", quantile] = args;
  const isLatency = name === "service_graph" && LATENCY.test(first);
  const isQuantile = name === "quantile_over_time" || (isLatency && quantile !== undefined);
  const isTime = isQuantile
    ? isLatency || TIMES.test(first)
    : /^(min|max|avg|sum)_over_time$/.test(name) && DURATION.test(first);
  const attribute = name === "histogram_over_time" ? first : "duration";
  const isDuration = TIMES.test(attribute);
  const given = Number(hintOf(query, "buckets"));
  const perDoubling = Number.isInteger(given) && given >= 1 && given <= FINE ? given : 1;
  const tokens = tokensOf(query);
  const isEstimate = (token: string, at: number) =>
    token === "quantile_over_time" || (LATENCY.test(token) && tokens[at + 1] === ",");
  const condition = isPlain ? conditionsOf(spans) : null;
  const samples = ["sample", "span_sample", "trace_sample"].map((name) => Number(hintOf(query, name)));
  return {
    isTime: isTime && isPlain,
    // More stands behind it.
    condition: condition?.includes("||") ? `(${condition})` : condition,
    measured: { attribute, unit: isDuration ? "ns" : "", perOne: isDuration ? 1e9 : 1 },
    perDoubling,
    isGapAtZero: isQuantile && isPlain,
    isSum: isPlain && /^(rate|(count|sum|histogram)_over_time)$/.test(name),
    isRough: perDoubling < FINE && tokens.some(isEstimate),
    isSampled: samples.some((share) => share > 0 && share < 1),
  };
}
