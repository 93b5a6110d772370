import { expect, test, vi } from "vitest";
import { questionOf } from "../src/explore/question";
import { axisOf, csvOf, stacked, stepAt, tableOf } from "../src/explore/table";
import {
  type Box,
  boundOf,
  boundsOf,
  columnsOf,
  countIn,
  type Grid,
  gridOf,
  linesOf,
  queryIn,
  rangeIn,
  scaleOf,
  spanOf,
  sumsOf,
  zoomOf,
} from "../src/heatmap/grid";
import { changeOf, changesOf, type Edge, edgesIn, edgesOf, near, spansOf, turnOf } from "../src/map/edges";
import { type CompactAnswer, type Series, series, seriesOf, stepFor } from "../src/metrics";
import { costOf } from "../src/search/cost";
import { join } from "../src/services/query";
import { made } from "./trace";

const RANGE = { from: 1000, to: 1060 };

function one(labels: Record<string, string>, ...points: [number, number][]): Series {
  return { labels, points, exemplars: [] };
}

test("values fall into the column of their step", () => {
  // A sample's time is where its step ends; steps are whole multiples, and the first ends before the range begins.
  const all = [
    one({}, [990_000, 7], [1_020_000, 2]),
    one({}, [1_020_000, 3], [1_080_000, 4], [1_110_000, 9], [1_050_000, Number.NaN]),
  ];
  expect(sumsOf(all, columnsOf(RANGE, 30))).toEqual([5, 0, 4]);
  expect(stepFor(RANGE, 90)).toBe(1);
});

test("zoom has the whole of each step that it touches", () => {
  const columns = columnsOf(RANGE, 30);
  expect(spanOf(columns)).toEqual({ from: 990, to: 1080 });
  expect(zoomOf({ from: 1025.5, to: 1049 }, columns)).toEqual({ from: 1020, to: 1050 });
  expect(zoomOf({ from: 1000, to: 1030 }, columns)).toEqual({ from: 990, to: 1050 });
  expect(zoomOf({ from: 1050, to: 1200 }, columns)).toEqual({ from: 1050, to: 1080 });
  // All of it is no part.
  expect(zoomOf({ from: 990, to: 1079 }, columns)).toBeNull();
  expect(zoomOf({ from: 1100, to: 1200 }, columns)).toBeNull();
});

test("axis of values has 0 and room for the outermost lines, below 0 as well", () => {
  expect(axisOf(5, 100)).toEqual([0, 104]);
  expect(axisOf(0, 0)).toEqual([0, 1.04]);
  expect(axisOf(-50, 50)).toEqual([-54, 54]);
  expect(axisOf(-100, -90)).toEqual([-104, 4]);
  expect(axisOf(-100, -100)).toEqual([-104, 4]);
});

test("a moment belongs to the step that ends after it", () => {
  const table = tableOf([one({}, [1_000_000, 1], [1_030_000, 2], [1_120_000, 3])]);
  expect([970, 975, 1000, 1001, 1030, 1060, 1100, 1121].map((at) => stepAt(table, at, 30))).toEqual([
    -1, 0, 0, 1, 1, -1, 2, -1,
  ]);
});

const SECOND = 2 ** 30 / 1e9;

test("lines of a heatmap without spans are there", () => {
  const grid = gridOf(
    [
      one({ __bucket: `${SECOND / 4}` }, [990_000, 8], [1_020_000, 3]),
      one({ __bucket: `${2 * SECOND}` }, [1_080_000, 1], [1_110_000, 9]),
    ],
    RANGE,
    30,
    1,
    1e9,
  ) as Grid;
  // Steps are whole multiples: the range lies in those that begin at 990, 1020 and 1050.
  expect([grid.from, grid.count]).toEqual([990, 3]);
  expect(grid.counts).toEqual([
    [3, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 1],
  ]);
  expect([-1, 0, 3].map((line) => boundOf(grid, line))).toEqual([2 ** 27, 2 ** 28, 2 ** 31]);
});

test("heatmap of one duration is some lines high", () => {
  const histogram = [one({ __bucket: `${SECOND}` }, [1_020_000, 3])];
  expect(gridOf(histogram, RANGE, 30, 1, 1e9)?.counts).toHaveLength(4);
  expect(gridOf(histogram, RANGE, 30, 4, 1e9)?.counts).toHaveLength(16);
  expect(gridOf([one({ name: "a" }, [1_020_000, 3])], RANGE, 30, 1, 1e9)).toBeNull();
});

test("box of a heatmap becomes a query and a range", () => {
  const quarters = one({ __bucket: `${2 ** 28.25 / 1e9}` }, [1_020_000, 3]);
  const grid = gridOf([quarters, one({ __bucket: `${SECOND}` })], RANGE, 30, 4, 1e9) as Grid;
  const lines = grid.counts.length;
  expect(grid.counts.findIndex((line) => line[0] === 3)).toBe(lines - 8);
  const box: Box = [
    { column: 1, line: lines - 8 },
    { column: 0, line: lines - 1 },
  ];
  expect(queryIn(box, grid, "kind = server", "duration", "ns")).toBe(
    "{ kind = server && duration > 268435456ns && duration <= 1073741824ns }",
  );
  expect(queryIn(box, { ...grid, first: grid.first + 1 }, "", "span.rows", "")).toBe(
    `{ span.rows > ${Math.floor(2 ** 28.25)} && span.rows <= ${Math.floor(2 ** 30.25)} }`,
  );
  expect(rangeIn(box, grid)).toEqual({ from: 990, to: 1050 });
  expect(countIn(box, grid.counts)).toBe(3);
});

test("largest series are the lines of a heatmap", () => {
  const all = [one({ name: "a" }, [1_020_000, 1]), one({ name: "b" }, [1_050_000, 5], [1_020_000, 0])];
  const lines = linesOf(all, columnsOf(RANGE, 30), 1);
  expect(lines.map(({ series, values }) => [series.labels.name, values])).toEqual([
    ["b", [0, 5, Number.NaN]],
  ]);
  expect(boundsOf(lines.map(({ values }) => values))).toEqual({ least: 0, most: 5 });
  expect(
    boundsOf([
      [Number.NaN, -2],
      [-7, -1],
    ]),
  ).toEqual({ least: -7, most: 0 });
});

test("series are read from their compact form", () => {
  const answer = {
    start: 60_000,
    step: 30_000,
    series: [
      {
        labels: { p: "0.5" },
        values: [1, null, "NaN", 2],
        exemplars: [
          [61_000, 0.5, "ab", ""],
          [62_000, 0.5, "ac", "1f"],
        ],
      },
    ],
  } as CompactAnswer;
  expect(seriesOf(answer)).toEqual([
    {
      labels: { p: "0.5" },
      points: [
        [60_000, 1],
        [150_000, 2],
      ],
      exemplars: [
        { traceId: "ab", spanId: null, millis: 61_000, value: 0.5 },
        { traceId: "ac", spanId: "000000000000001f", millis: 62_000, value: 0.5 },
      ],
    },
  ]);
  expect(seriesOf({})).toEqual([]);
});

test("labels that differ only in their kind are different series", async () => {
  const labels = { "span.code": "500" };
  const number = { labels, values: [1] };
  const text = { labels, texts: ["span.code"], values: [2] };
  const events = ["difference", "complete"].map(
    (name) =>
      `event: ${name}\ndata: ${JSON.stringify({ start: 60_000, step: 1000, series: [number, text] })}\n\n`,
  );
  vi.stubGlobal("fetch", async () => new Response(events.join("")));
  const shown: number[] = [];
  const show = (soFar: Series[]) => shown.push(soFar.length);
  const found = await series("{ } | rate() by (span.code)", RANGE, 1, new AbortController().signal, 0, show);
  vi.unstubAllGlobals();
  expect(shown).toEqual([2, 2]);
  expect(tableOf(found).series.map(({ name }) => name)).toEqual(["span.code=500", 'span.code="500"']);
});

test("query says how it is to be shown", () => {
  const histogram = questionOf("{ kind = server } | histogram_over_time(duration) with(buckets=4)");
  expect(histogram).toMatchObject({
    condition: "kind = server",
    perDoubling: 4,
    isTime: false,
    isRough: false,
  });
  expect(histogram.measured).toEqual({ attribute: "duration", unit: "ns", perOne: 1e9 });
  const rows = questionOf("{ } >> { } | histogram_over_time(span.rows) by (name)");
  expect(rows).toMatchObject({ condition: null, measured: { attribute: "span.rows", unit: "", perOne: 1 } });
  const quantile = questionOf("{ } | quantile_over_time(duration, .5) with(sample=0.1)");
  expect(quantile).toMatchObject({ isTime: true, isRough: true, isSampled: true });
  expect(questionOf("{ } | service_graph(server_latency, .5)")).toMatchObject({
    isTime: true,
    isRough: true,
  });
  expect(questionOf("{ } | service_graph(server_latency)")).toMatchObject({ isTime: false, isRough: false });
  expect(questionOf("{ } | rate()")).toMatchObject({ isTime: false, isRough: false, isSampled: false });
});

test("step without spans is a gap in a quantile, and a value elsewhere", () => {
  for (const query of [
    "{ a = 1 || b = 2 } | quantile_over_time(duration, .5, .9) by (name) with(buckets=4)",
    '{ name = "GET /users/{id}" } | quantile_over_time (duration, .5) | topk(3) > -1ms',
    "{ } > { } | select(span.a) | quantile_over_time(duration, .5)",
    "({ } | quantile_over_time(duration, .5)) > 1s",
    "{ } | service_graph(client_latency, .5)",
  ]) {
    expect(questionOf(query), query).toMatchObject({ isGapAtZero: true, isTime: true, isSum: false });
  }
  for (const query of [
    "{ } | rate()",
    "({ } | quantile_over_time(duration, .5)) - ({ } | quantile_over_time(duration, .1))",
    "{ } | service_graph(client_latency)",
  ]) {
    expect(questionOf(query).isGapAtZero, query).toBe(false);
  }
  const found = [one({ p: "0.5" }, [1_000, 2], [2_000, 0], [3_000, 4])];
  expect(tableOf(found, true).series[0]).toMatchObject({ values: [2, null, 4], mean: 3 });
  expect(tableOf(found).series[0]).toMatchObject({ values: [2, 0, 4], mean: 2 });
});

test("what is computed of durations has no unit, and of counts is not stacked", () => {
  const duration = "({ } | avg_over_time(duration))";
  for (const query of ["{ } | avg_over_time (duration)", duration, `${duration} > 1s`]) {
    expect(questionOf(query).isTime, query).toBe(true);
  }
  for (const query of [`${duration} / ${duration}`, `${duration} * 1000`, `1000 * (${duration})`]) {
    expect(questionOf(query).isTime, query).toBe(false);
  }
  const quantile = "({ } | quantile_over_time(duration, .5))";
  expect(questionOf(`${quantile} - ${quantile}`)).toMatchObject({ isRough: true, isTime: false });
  const rate = '{ name = "GET /{id}" } | rate() by (name)';
  expect(questionOf(rate).isSum).toBe(true);
  expect(questionOf(`(${rate}) / (${rate})`).isSum).toBe(false);
});

test("box leads to spans whatever the texts of their condition hold", () => {
  const of = (spans: string) => questionOf(`${spans} | histogram_over_time(duration)`).condition;
  expect(of('{ name = "GET /users/{id}" }')).toBe('name = "GET /users/{id}"');
  expect(of("{ .a = 1 || .b = 2 } | select(.c)")).toBe("(.a = 1 || .b = 2)");
  expect(of("{ .a = 1 // one\n }")).toBe(".a = 1 // one\n");
  expect(of("{ }")).toBe("");
  expect(of("{ } > { }")).toBeNull();
});

test("buckets of a histogram are in the order of their sizes", () => {
  const of = (__bucket: string, name: string) => one({ name, __bucket }, [1_000, 1]);
  const table = tableOf([of("10", "a"), of("9", "a"), of("1", "b"), of("0.5", "a")]);
  expect(table.series.map(({ labels }) => [labels.name, labels.__bucket])).toEqual([
    ["a", "0.5"],
    ["a", "9"],
    ["a", "10"],
    ["b", "1"],
  ]);
});

test("bars stand on those of the series before them", () => {
  expect(
    stacked([
      [1, null, 2],
      [3, 4, null],
      [5, 6, 7],
    ]),
  ).toEqual([
    [1, null, 2],
    [4, 4, null],
    [9, 10, 9],
  ]);
  expect(stacked([])).toEqual([]);
});

test("row of a service joins what several queries say", () => {
  const rows = join("name", {
    sparks: [one({ name: "a" }, [1_000_000, 1], [1_030_000, 3])],
    rates: [
      { labels: { name: "a", status: "error" }, value: 0.5 },
      { labels: { name: "a", status: "unset" }, value: 1.5 },
      { labels: { name: "b", status: "ok" }, value: 1 },
      { labels: { name: "gone", status: "ok" }, value: 0 },
    ],
    quantiles: [
      { labels: { name: "a", p: "0.5" }, value: 0.1 },
      { labels: { name: "a", p: "0.99" }, value: 0.9 },
      { labels: { name: "none", p: "0.5" }, value: 7 },
    ],
    totals: [{ labels: { name: "a" }, value: 12 }],
  });
  expect(rows[0]).toEqual({
    name: "a",
    rate: 2,
    errors: 0.25,
    p50: 0.1,
    p95: 0,
    p99: 0.9,
    total: 12,
    spark: [1, 3],
  });
  expect(rows.map(({ name }) => name)).toEqual(["a", "b"]);
});

test("table has one axis of time, and its text is safe for spreadsheets", () => {
  const table = tableOf([one({ name: "=1+1" }, [1_000_000, 1]), one({ a: 'x,"y"' }, [1_030_000, 2])]);
  expect(table.times).toEqual([1000, 1030]);
  expect(table.series.map(({ values }) => values)).toEqual([
    [1, null],
    [null, 2],
  ]);
  expect(csvOf(table)).toBe(
    'time,name==1+1,"a=x,""y"""\n1970-01-01T00:16:40.000Z,1,\n1970-01-01T00:17:10.000Z,,2\n',
  );
  expect(csvOf(tableOf([one({ "=cmd()": "x" }, [1_000_000, 1])]))).toContain("time,'=cmd()=x\n");
});

test("edges have their calls, errors and durations", () => {
  const labels = { client: "shop", server: "db" };
  const edges = edgesOf(
    [
      { labels: { ...labels, __measure: "calls" }, value: 4 },
      { labels: { ...labels, __measure: "errors" }, value: 1 },
      { labels: { ...labels, __measure: "server_latency", __bucket: "1" }, value: 4 },
      { labels: { client: "a", server: "b", __measure: "calls" }, value: 0 },
    ],
    [{ labels: { ...labels, p: "0.95" }, value: 0.5 }],
  );
  expect(edges).toEqual([
    { client: "shop", server: "db", kind: "", virtual: "", calls: 4, errors: 1, p95: 0.5 },
  ]);
  expect(near(edges, "db")).toHaveLength(1);
  expect(near(edges, "cart")).toHaveLength(0);
});

test("calls of a side that sent no spans lead to the spans of the other", () => {
  const of = (labels: Record<string, string>) =>
    edgesOf([{ labels: { client: "a", server: "b", ...labels, __measure: "calls" }, value: 1 }], [])[0];
  const virtual = { connection_type: "virtual_node" };
  expect(spansOf(of({}))).toBe('{ resource.service.name = "a" } > { resource.service.name = "b" }');
  expect(spansOf(of({ ...virtual, virtual_node: "client" }))).toBe(
    '{ resource.service.name = "b" && (kind = server || kind = consumer) && nestedSetParent < 0 && span.peer.service = "a" }',
  );
  for (const labels of [{ ...virtual, virtual_node: "server" }, { connection_type: "database" }]) {
    expect(spansOf(of(labels))).toContain(
      '{ resource.service.name = "a" && (kind = client || kind = producer) && (',
    );
  }
});

test("calls between services of a trace are counted", () => {
  const trace = made([
    { service: "shop" },
    { service: "shop", parent: 0 },
    { service: "db", parent: 1, error: true },
    { service: "db", parent: 1 },
    { service: "db", parent: 3 },
  ]);
  expect(edgesIn(trace)).toEqual([
    { client: "shop", server: "db", kind: "", virtual: "", calls: 2, errors: 1, p95: 0 },
  ]);
});

function edge(client: string, server: string, calls: number, p95 = 0, errors = 0): Edge {
  return { client, server, kind: "", virtual: "", calls, errors, p95 };
}

test("edges within some calls of a service are near it", () => {
  const edges = [edge("user", "shop", 1), edge("shop", "payment", 1), edge("payment", "cards", 1)];
  expect(near(edges, "user").map(({ server }) => server)).toEqual(["shop"]);
  expect(near(edges, "user", 2).map(({ server }) => server)).toEqual(["shop", "payment"]);
  expect(near(edges, "cards", 3)).toEqual(edges);
  expect(near(edges, "", 1)).toEqual(edges);
});

test("difference of two windows has what is new, gone, and what takes most more time first", () => {
  const now = [edge("a", "b", 10, 1), edge("a", "c", 10, 5), edge("a", "new", 1, 0.1)];
  const before = [edge("a", "b", 10, 1), edge("a", "c", 10, 1), edge("a", "gone", 2, 0.1)];
  const changes = changesOf(now, before);
  expect(changes[0].now).toEqual(edge("a", "c", 10, 5));
  const turns = Object.fromEntries(changes.map((change) => [change.now.server, turnOf(change)]));
  expect(turns).toEqual({ b: "same", c: "worse", gone: "gone", new: "new" });
  expect(turnOf({ now: edge("a", "b", 10, 1, 1), before: edge("a", "b", 10, 1) })).toBe("worse");
  expect(turnOf({ now: edge("a", "b", 10, 0.5), before: edge("a", "b", 10, 1) })).toBe("better");
});

test("size of a change is told with its sign", () => {
  expect(changeOf(15, 10)).toBe("+50 %");
  expect(changeOf(9.5, 10)).toBe("−5.0 %");
  expect(changeOf(200, 10)).toBe("×20");
  expect([changeOf(1, 0), changeOf(0, 1), changeOf(3, 3)]).toEqual(["new", "gone", "±0 %"]);
});

test("cost of a query is told in words", () => {
  const stored = { blocks: 2, bytes: 3_000_000, jobs: 1, ofBlocks: 9, ofBytes: 4_000_000_000 };
  expect(costOf(stored)).toBe(
    "Would read at most 2 blocks, 3.00 MB, of 9 blocks, 4.00 GB, in 1 job, and recent spans",
  );
  expect(costOf({ ...stored, ofBlocks: 2 })).toContain("2 blocks, 3.00 MB, all that is stored, in");
  expect(costOf({ ...stored, blocks: 0 })).toContain("none of 9 blocks is in this range");
  expect(costOf({ ...stored, blocks: 0, ofBlocks: 0 })).toContain("no block is stored");
});

test("scale of a heatmap goes from its largest size to its smallest in even steps", () => {
  const grid: Grid = { from: 0, step: 1, count: 1, perDoubling: 1, first: 3, counts: [[0], [0], [0], [0]] };
  expect(scaleOf(grid)).toEqual([64, 32, 16, 8, 4]);
});
