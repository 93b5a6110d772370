import { expect, test } from "vitest";
import { csvOf, tableOf } from "../src/explore/table";
import { edgesIn, edgesOf, near } from "../src/map/edges";
import { type Series, slots, stepFor } from "../src/metrics";
import { boxOf, gridOf } from "../src/services/heatmap";
import { join } from "../src/services/query";
import { made } from "./trace";

const RANGE = { from: 1000, to: 1060 };

function one(labels: Record<string, string>, ...points: [number, number][]): Series {
  return { labels, points, exemplars: [] };
}

test("values fall into the slot of their time", () => {
  const all = [
    one({}, [1_000_000, 1], [1_030_000, 2]),
    one({}, [1_030_000, 3], [1_060_000, 4], [990_000, 9]),
  ];
  expect(slots(all, RANGE, 30)).toEqual([1, 9]);
  expect(stepFor(RANGE, 90)).toBe(1);
});

test("lines of a heatmap without spans are there", () => {
  const grid = gridOf(
    [one({ __bucket: "0.25" }, [1_000_000, 3]), one({ __bucket: "2" }, [1_059_000, 1])],
    RANGE,
    30,
  );
  expect(grid.bounds).toEqual([0.25, 0.5, 1, 2]);
  expect(grid.counts).toEqual([
    [3, 0],
    [0, 0],
    [0, 0],
    [0, 1],
  ]);
});

test("heatmap of one duration is some lines high", () => {
  expect(gridOf([one({ __bucket: "2" }, [1_000_000, 3])], RANGE, 30).bounds).toEqual([0.25, 0.5, 1, 2]);
});

test("box of a heatmap becomes a query and a range", () => {
  const places = [
    { column: 1, line: 2 },
    { column: 0, line: 1 },
  ] as const;
  const box = boxOf([places[0], places[1]], [0.25, 0.5, 1, 2], "kind = server", RANGE, 30);
  expect(box.q).toBe("{ kind = server && duration > 250000000ns && duration <= 1000000000ns }");
  expect(box.range).toEqual(RANGE);
});

test("row of a service joins what several queries say", () => {
  const rows = join(
    "name",
    [one({ name: "a" }, [1_000_000, 1], [1_030_000, 3])],
    [
      { labels: { name: "a", status: "error" }, value: 0.5 },
      { labels: { name: "a", status: "unset" }, value: 1.5 },
      { labels: { name: "b", status: "ok" }, value: 1 },
      { labels: { name: "gone", status: "ok" }, value: 0 },
    ],
    [
      { labels: { name: "a", p: "0.5" }, value: 0.1 },
      { labels: { name: "a", p: "0.99" }, value: 0.9 },
      { labels: { name: "none", p: "0.5" }, value: 7 },
    ],
    [{ labels: { name: "a" }, value: 12 }],
  );
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
  expect(edges).toEqual([{ client: "shop", server: "db", kind: "", calls: 4, errors: 1, p95: 0.5 }]);
  expect(near(edges, "db")).toHaveLength(1);
  expect(near(edges, "cart")).toHaveLength(0);
});

test("calls between services of a trace are counted", () => {
  const trace = made([
    { service: "shop" },
    { service: "shop", parent: 0 },
    { service: "db", parent: 1, error: true },
    { service: "db", parent: 1 },
    { service: "db", parent: 3 },
  ]);
  expect(edgesIn(trace)).toEqual([{ client: "shop", server: "db", kind: "", calls: 2, errors: 1, p95: 0 }]);
});
