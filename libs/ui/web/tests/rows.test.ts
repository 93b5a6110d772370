import fc from "fast-check";
import { expect, test } from "vitest";
import { shape } from "../src/trace/analysis";
import { rowsOf } from "../src/trace/find";
import {
  find,
  indexOf,
  Runs,
  revealed,
  runStart,
  secondRows,
  shownRows,
  step,
  withAncestors,
} from "../src/trace/rows";
import { lasts, rowStarting } from "../src/trace/skeleton";
import { type Made, made } from "./trace";

const NONE = { folded: new Set<number>(), open: new Set<number>() };

/** A root, a call, six selects of which each has a child, and another call. */
function many() {
  const selects: Made[] = [];
  for (let at = 0; at < 6; at += 1) {
    selects.push({ parent: 0, name: "SELECT", start: at, duration: at + 1, error: at === 2 });
    selects.push({ parent: 2 + at * 2, name: "read" });
  }
  return made([{ name: "root" }, { parent: 0, name: "call" }, ...selects, { parent: 0, name: "call" }]);
}

test("siblings alike are one line until it is opened", () => {
  const trace = many();
  const { size } = shape(trace.parent);
  const runs = new Runs(trace, size);
  expect(runs.at(2)).toEqual({ count: 6, end: 14, from: 0, to: 11, shortest: 1, longest: 6, errors: 1 });
  expect([runs.count, runs.at(1), runs.at(14)]).toEqual([1, null, null]);
  expect([...shownRows(size, runs, NONE)]).toEqual([0, 1, ~2, 14]);
  const opened = shownRows(size, runs, { ...NONE, open: new Set([2]) });
  expect([...opened]).toEqual([0, 1, ~2, ...Array.from({ length: 13 }, (_, at) => at + 2)]);
});

test("folded span hides what is below it alone", () => {
  const trace = many();
  const { size } = shape(trace.parent);
  const folds = { folded: new Set([2]), open: new Set([2]) };
  const shown = shownRows(size, new Runs(trace, size), folds);
  expect([...shown].slice(0, 6)).toEqual([0, 1, ~2, 2, 4, 5]);
});

test("row that is selected is made visible", () => {
  const trace = many();
  const { size } = shape(trace.parent);
  const runs = new Runs(trace, size);
  const folds = revealed(trace, runs, size, { folded: new Set([0, 2, 4]), open: new Set() }, 5);
  expect([...folds.folded]).toEqual([2]);
  expect([...folds.open]).toEqual([2]);
  const shown = shownRows(size, runs, folds);
  expect(shown[indexOf(shown, 5)]).toBe(5);
  expect(revealed(trace, runs, size, folds, 5)).toBe(folds);
});

test("span knows the run that it is in", () => {
  const trace = many();
  const { size } = shape(trace.parent);
  const runs = new Runs(trace, size);
  // What is below one of a run is in none.
  expect([1, 2, 3, 4, 12, 13, 14].map((row) => runStart(trace, runs, size, row))).toEqual([
    -1, 2, -1, 2, 2, -1, -1,
  ]);
});

test("only matches and what is above them are shown", () => {
  const trace = many();
  const { size } = shape(trace.parent);
  const wanted = withAncestors(trace.parent, Int32Array.of(5, 14));
  expect([...shownRows(size, new Runs(trace, size), NONE, wanted)]).toEqual([0, 4, 5, 14]);
});

test("text is found in names, services and ids", () => {
  const trace = made([
    { name: "GET /a", service: "Cart" },
    { name: "HGETALL" },
    { name: "x", service: "cart" },
  ]);
  expect([...find(trace, "get")]).toEqual([0, 1]);
  expect([...find(trace, " CART ")]).toEqual([0, 2]);
  expect([...find(trace, "0000000000000002")]).toEqual([1]);
  expect([...find(trace, "")]).toEqual([]);
});

test("what is folded at once leaves the first spans and what they called", () => {
  const rows = [-1, 0, 1, 2, 0, -1, 5, 6].map((parent) => ({ parent: parent < 0 ? undefined : parent }));
  const trace = made(rows);
  const { size } = shape(trace.parent);
  expect(secondRows(trace.parent, size)).toEqual([1, 6]);
  const folds = { ...NONE, folded: new Set(secondRows(trace.parent, size)) };
  expect([...shownRows(size, new Runs(trace, size), folds)]).toEqual([0, 1, 4, 5, 6]);
});

test("a span is found by the millisecond of its start, if it is the only one", () => {
  const trace = {
    ...made([{}, { start: 1_500_000 }, { start: 3e6 }, { start: 3_999_999 }]),
    begin: 5_000_000n,
  };
  expect([5, 6, 7, 8, Number.NaN].map((millis) => rowStarting(trace, millis))).toEqual([0, 1, -1, -1, -1]);
});

test("matches go round", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(30)), fc.integer({ min: -1, max: 31 }), (some, row) => {
      const rows = [...some].sort((a, b) => a - b);
      const next = (forward: boolean) => step(Int32Array.from(rows), row, forward);
      expect(next(true)).toBe(rows.find((at) => at > row) ?? rows[0] ?? -1);
      expect(next(false)).toBe(rows.findLast((at) => at < row) ?? rows.at(-1) ?? -1);
    }),
  );
});

test("bitmap of the server gives its rows", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(200)), (rows) => {
      const bytes = new Uint8Array(26);
      for (const row of rows) bytes[row >> 3] |= 1 << (row & 7);
      expect([...rowsOf(btoa(String.fromCharCode(...bytes)), rows.length)]).toEqual(
        rows.sort((a, b) => a - b),
      );
    }),
  );
});

test("span that has not ended says so, instead of a length from its start back to the beginning of time", () => {
  const begin = 1_800_000_000_000_000_000n;
  const never = (start: number) => ({ parent: 0, start, duration: -Number(begin) - start });
  const trace = {
    ...made([
      { duration: 90 },
      ...[1, 2, 3].map(never),
      { parent: 0, start: 4, duration: -5 },
      { parent: 0, start: 5, duration: 7 },
    ]),
    begin,
  };
  const all = [...Array(trace.count).keys()].map((row) => lasts(trace, row));
  expect(all).toEqual(["90 ns", ...Array(3).fill("without an end"), "-5 ns", "7 ns"]);
  // Clocks that are put right move it.
  trace.start[1] += 60e9;
  expect(lasts(trace, 1)).toBe("without an end");
  const runs = new Runs(trace, shape(trace.parent).size);
  expect(runs.at(1)).toMatchObject({ count: 5, shortest: -5, longest: 7 });
});
