import fc from "fast-check";
import { expect, test } from "vitest";
import { shape, times } from "../src/trace/analysis";
import { type Made, made } from "./trace";

/** Spans in preorder, children by start; times may lie outside of the parent's. */
const trees = fc
  .array(fc.record({ up: fc.nat(4), start: fc.nat(100), duration: fc.integer({ min: -5, max: 100 }) }), {
    minLength: 1,
    maxLength: 40,
  })
  .map((all) => {
    const spans: Made[] = [];
    const open: number[] = [];
    const lastStart: number[] = [];
    for (const { up, start, duration } of all) {
      for (let left = up; left > 0 && open.length > 1; left -= 1) open.pop();
      const parent = open.at(-1) ?? -1;
      const begin = Math.max(start, lastStart[parent + 1] ?? 0);
      lastStart[parent + 1] = begin;
      spans.push({ parent, start: begin, duration });
      open.push(spans.length - 1);
    }
    return made(spans);
  });

test("self time and critical path never exceed what there is", () => {
  fc.assert(
    fc.property(trees, (trace) => {
      const { self, critical } = times(trace);
      const { size } = shape(trace.parent);
      let longest = 0;
      for (let row = 0; row < trace.count; row += size[row]) longest = Math.max(longest, trace.duration[row]);
      for (let row = 0; row < trace.count; row += 1) {
        const duration = Math.max(0, trace.duration[row]);
        expect(self[row]).toBeGreaterThanOrEqual(0);
        expect(self[row]).toBeLessThanOrEqual(duration);
        expect(critical[row]).toBeGreaterThanOrEqual(0);
      }
      const total = critical.reduce((sum, time) => sum + time, 0);
      expect(total).toBeLessThanOrEqual(longest);
    }),
  );
});

test("shape counts what is below a span", () => {
  const { depth, size } = shape(Int32Array.from([-1, 0, 1, 0, -1]));
  expect([...depth]).toEqual([0, 1, 2, 1, 0]);
  expect([...size]).toEqual([4, 2, 1, 1, 1]);
});

test("critical path goes through what ended last", () => {
  const trace = made([
    { start: 0, duration: 100 },
    { parent: 0, start: 10, duration: 30 },
    { parent: 0, start: 20, duration: 10 },
    { parent: 0, start: 50, duration: 40 },
  ]);
  // From the end: 10 of the root, 40 of the last child, 10 between, 30 of the first child, 10 at the start.
  expect([...times(trace).critical]).toEqual([30, 30, 0, 40]);
  expect([...times(trace).self]).toEqual([30, 30, 10, 40]);
});

test("retry is a call that begins after one alike failed", () => {
  const call = { parent: 0, name: "POST /cards", duration: 10 };
  const trace = made([
    { duration: 100 },
    { ...call, start: 0, error: true },
    { ...call, start: 5 },
    { ...call, start: 20, error: true },
    { ...call, start: 40 },
    { ...call, start: 60 },
    { ...call, start: 70, name: "other" },
  ]);
  // What began before the failure was known is no retry, and after a success nothing is.
  expect([...times(trace).retry]).toEqual([0, 0, 0, 0, 1, 0, 0]);
});
