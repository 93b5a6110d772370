import type { Kind } from "./place";

/** Something that can be written at a place. */
export interface Option {
  text: string;
  note?: string;
  /** Where the cursor is left: so many characters before its end. */
  back?: number;
}

const list = (texts: string): Option[] => texts.split(" ").map((text) => ({ text }));

const COMPARISONS: Option[] = [
  { text: "= " },
  { text: "!= " },
  { text: "> " },
  { text: ">= " },
  { text: "< " },
  { text: "<= " },
];

const HINTS_OF: Option = { text: "with ()", back: 1, note: "how to run it" };

/** What can always be written at a place, whatever is stored. */
export const FIXED: Partial<Record<Kind, Option[]>> = {
  start: [{ text: "{  }", back: 2, note: "spans" }],
  spans: [
    { text: "{  }", back: 2, note: "spans" },
    { text: "()", back: 1, note: "pipeline" },
  ],
  operator: [
    ...COMPARISONS.slice(0, 2),
    { text: "=~ ", note: "regular expression" },
    { text: "!~ ", note: "no such expression" },
    ...COMPARISONS.slice(2),
    { text: "= nil ", note: "is missing" },
    { text: "!= nil ", note: "is there" },
    ...list("+ - * / % ^").map(({ text }) => ({ text: `${text} `, note: "arithmetic" })),
  ],
  logic: [{ text: "&& " }, { text: "|| " }, { text: "}" }],
  relation: [
    { text: "| ", note: "pipeline" },
    { text: "&& ", note: "both in one trace" },
    { text: "|| ", note: "one of both" },
    { text: "> ", note: "child" },
    { text: ">> ", note: "descendant" },
    { text: "< ", note: "parent" },
    { text: "<< ", note: "ancestor" },
    { text: "~ ", note: "sibling" },
    { text: "!> ", note: "no child" },
    { text: "!>> ", note: "no descendant" },
    { text: "!< ", note: "no parent" },
    { text: "!<< ", note: "no ancestor" },
    { text: "!~ ", note: "no sibling" },
    { text: "&> ", note: "child, and its parent" },
    { text: "&>> ", note: "descendant, and its ancestors" },
    { text: "&< ", note: "parent, and its children" },
    { text: "&<< ", note: "ancestor, and its descendants" },
    { text: "&~ ", note: "siblings" },
    HINTS_OF,
  ],
  stage: [
    { text: "rate()", note: "spans a second" },
    { text: "count_over_time()", note: "spans a step" },
    { text: "quantile_over_time(duration, .95)", note: "of the duration" },
    { text: "histogram_over_time(duration)", note: "spans a bucket" },
    { text: "avg_over_time()", back: 1 },
    { text: "max_over_time()", back: 1 },
    { text: "min_over_time()", back: 1 },
    { text: "sum_over_time()", back: 1 },
    { text: "compare({  })", back: 3, note: "what the spans have in common" },
    { text: "service_graph()", back: 1, note: "calls between services" },
    { text: "select()", back: 1, note: "attributes to show" },
    { text: "by()", back: 1, note: "groups of spans" },
    { text: "coalesce()", note: "joins groups again" },
    { text: "count() > ", note: "spans a trace" },
    { text: "avg() > ", back: 4 },
    { text: "max() > ", back: 4 },
    { text: "min() > ", back: 4 },
    { text: "sum() > ", back: 4 },
    { text: "{  }", back: 2, note: "those that match" },
  ],
  pipe: [{ text: "| ", note: "pipeline" }, HINTS_OF],
  comparison: COMPARISONS,
  series: [
    { text: "by ()", back: 1, note: "a series a value" },
    { text: "| topk(10)", note: "the largest series" },
    { text: "| bottomk(10)", note: "the smallest series" },
    HINTS_OF,
    ...COMPARISONS,
  ],
  limit: [
    { text: "topk(10)", note: "the largest series" },
    { text: "bottomk(10)", note: "the smallest series" },
  ],
  measure: [
    { text: "rate", note: "calls a second" },
    { text: "calls" },
    { text: "errors", note: "calls that failed" },
    { text: "server_latency, .5, .99", note: "quantiles at the server" },
    { text: "client_latency, .5, .99", note: "quantiles at the client" },
  ],
  hint: [
    { text: "most_recent=", note: "the newest traces" },
    { text: "exemplars=", note: "how many" },
    { text: "sample=", note: "a share of the spans" },
    { text: "span_sample=" },
    { text: "trace_sample=" },
    { text: "extrapolate=", note: "spans that a sampler left out count" },
    { text: "adjusted=", note: "the same, exact" },
    { text: "buckets=", note: "a doubling" },
    { text: "explain=", note: "how it was run" },
  ],
};

export const INTRINSICS: Option[] = [
  { text: "name", note: "of the span" },
  { text: "duration", note: "of the span" },
  { text: "status" },
  { text: "statusMessage" },
  { text: "kind" },
  { text: "rootName", note: "name of the root" },
  { text: "rootServiceName", note: "service of the root" },
  { text: "traceDuration", note: "of the trace" },
  { text: "parent", note: "nil without one" },
  { text: "nestedSetParent", note: "-1 of a root" },
  { text: "nestedSetLeft" },
  { text: "nestedSetRight" },
  ...list("trace:id trace:duration trace:rootName trace:rootService"),
  ...list(
    "span:id span:parentID span:childCount span:name span:duration span:kind span:status span:statusMessage",
  ),
  ...list(
    "event:name event:timeSinceStart link:traceID link:spanID instrumentation:name instrumentation:version",
  ),
];

/** Written before the name of an attribute. */
export const SCOPES: Option[] = [
  { text: "resource.", note: "of the process" },
  { text: "span.", note: "of the span" },
  { text: "event.", note: "of its events" },
  { text: "link.", note: "of its links" },
  { text: "instrumentation.", note: "of the scope" },
  { text: "parent.", note: "of the parent span" },
  { text: ".", note: "of the span or its resource" },
];

const BOOLEANS = list("true false");

/** Values that everything has, or nothing stored has as they are written. */
export const VALUES: Record<string, Option[]> = {
  status: list("error ok unset"),
  kind: list("server client internal producer consumer unspecified"),
  duration: list("1ms 10ms 100ms 500ms 1s 5s 10s"),
  parent: list("nil"),
  nestedSetParent: [
    { text: "-1", note: "is a root" },
    { text: "0", note: "the way to a root is broken" },
  ],
};

export const HINT_VALUES: Record<string, Option[]> = {
  most_recent: BOOLEANS,
  extrapolate: BOOLEANS,
  adjusted: BOOLEANS,
  explain: BOOLEANS,
  exemplars: list("5 20 false"),
  sample: list("0.1 0.01 true"),
  span_sample: list("0.1 0.01"),
  trace_sample: list("0.1 0.01"),
  buckets: list("4 2 1"),
};
