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

const DURATION = "span:duration|duration";
const TIMES = `${DURATION}|trace:duration|traceDuration|event:timeSinceStart`;
const IS_TIME = new RegExp(
  `\\|\\s*((min|max|avg|sum)_over_time\\(\\s*(${DURATION})\\s*\\)|(quantile)_over_time\\(\\s*(${TIMES})\\s*,)`,
);
const IS_LATENCY = /\|\s*service_graph\(\s*(client|server)_latency\s*(,)?/;
/** A query whose values are quantiles themselves, and not what was computed of them. */
const IS_QUANTILE =
  /^\s*\{[^{}]*\}\s*\|\s*(quantile_over_time\([^()]*\)|service_graph\(\s*(client|server)_latency\s*,[^()]*\))[^|]*$/;
const IS_SUM = /^\s*\{[^{}]*\}[^|]*\|\s*(rate|count_over_time|sum_over_time|histogram_over_time)\(/;
const HISTOGRAM = /\|\s*histogram_over_time\(\s*([^()\s]+)\s*\)/;
const FILTER = /^\s*\{([^{}]*)\}\s*\|\s*histogram_over_time\(/;
const BUCKETS = /\bwith\s*\([^)]*\bbuckets\s*=\s*([1-4])\b/;
/** Buckets of a doubling with which an estimate is less than a fifth off. */
const FINE = 4;
const SAMPLED = /\bwith\s*\([^)]*\b(span_|trace_)?sample\s*=\s*0?\.\d/;

export function questionOf(query: string): Question {
  const latency = IS_LATENCY.exec(query);
  const attribute = HISTOGRAM.exec(query)?.[1] ?? "duration";
  const isDuration = latency !== null || new RegExp(`^(${TIMES})$`).test(attribute);
  const perDoubling = Number(BUCKETS.exec(query)?.[1] ?? 1);
  return {
    isTime: IS_TIME.test(query) || latency?.[2] !== undefined,
    condition: FILTER.exec(query)?.[1] ?? null,
    measured: { attribute, unit: isDuration ? "ns" : "", perOne: isDuration ? 1e9 : 1 },
    perDoubling,
    isGapAtZero: IS_QUANTILE.test(query),
    isSum: IS_SUM.test(query),
    isRough: perDoubling < FINE && (/\bquantile_over_time\(/.test(query) || latency?.[2] !== undefined),
    isSampled: SAMPLED.test(query),
  };
}
