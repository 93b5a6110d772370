import fc from "fast-check";
import { expect, test } from "vitest";
import { canCorrect, corrected } from "../src/trace/clocks";
import { spanId } from "../src/trace/skeleton";
import { made } from "./trace";

test("call of another service is moved into the middle of its caller, with what is below it there", () => {
  const sent = made([
    { name: "order", service: "shop", start: 100, duration: 100 },
    { parent: 0, name: "pack", service: "warehouse", start: 0, duration: 60 },
    { parent: 1, name: "SELECT", service: "warehouse", start: 10, duration: 20 },
    { parent: 0, name: "late", service: "mailer", start: 190, duration: 90 },
  ]);
  const { trace, moved } = corrected(sent);
  expect([...trace.start]).toEqual([0, 20, 30, 90]);
  expect(trace.begin - sent.begin).toBe(100n);
  expect(moved).toEqual({ spans: 2, services: new Map([["warehouse", 120]]) });
  expect([canCorrect(sent), canCorrect(trace)]).toEqual([true, false]);
});

test("call that is longer than its caller begins with it", () => {
  const spans = [
    { name: "send", service: "shop", start: 50, duration: 10 },
    { parent: 0, name: "receive", service: "mailer", start: 0, duration: 500 },
  ];
  expect([...corrected(made(spans)).trace.start]).toEqual([0, 0]);
});

test("span of the service of its parent stays where it is", () => {
  const sent = made([
    { name: "order", service: "shop", start: 50, duration: 10 },
    { parent: 0, name: "early", service: "shop", start: 0, duration: 5 },
  ]);
  expect(corrected(sent).trace).toBe(sent);
  expect(canCorrect(sent)).toBe(false);
});

test("rows are in the order of their new times, and known by their old places", () => {
  const sent = made([
    { name: "order", service: "shop", start: 100, duration: 100 },
    { parent: 0, name: "pack", service: "warehouse", start: 0, duration: 20 },
    { parent: 1, name: "box", service: "warehouse", start: 5, duration: 2 },
    { parent: 0, name: "charge", service: "payment", start: 110, duration: 10 },
  ]);
  const { trace } = corrected(sent);
  const names = [...trace.name].map((name) => trace.names[name]);
  expect(names).toEqual(["order", "charge", "pack", "box"]);
  expect([...trace.parent]).toEqual([-1, 0, 0, 2]);
  expect([...(trace.places ?? [])]).toEqual([0, 2, 3, 1]);
});

test("no span begins before a caller of another service, and none is lost", () => {
  const span = fc.record({
    parent: fc.nat(30),
    service: fc.constantFrom("a", "b", "c"),
    start: fc.nat(1_000),
    duration: fc.nat(300),
  });
  fc.assert(
    fc.property(fc.array(span, { minLength: 1, maxLength: 30 }), (spans) => {
      // In preorder: each is below the one before it or below what that is below of.
      const above: number[] = [];
      const inOrder = spans.map(({ parent, ...rest }, row) => {
        while (above.length > parent) above.pop();
        const made = { ...rest, name: `n${row}`, parent: above.at(-1) };
        above.push(row);
        return made;
      });
      const sent = made(inOrder);
      const { trace } = corrected(sent);
      const ids = (of: typeof sent) => [...of.name.keys()].map((row) => spanId(of, row)).sort();
      expect(ids(trace)).toEqual(ids(sent));
      expect(Math.min(...trace.start)).toBeGreaterThanOrEqual(-0.5);
      for (let row = 0; row < trace.count; row += 1) {
        const parent = trace.parent[row];
        if (parent < 0) continue;
        expect(parent).toBeLessThan(row);
        if (trace.service[parent] !== trace.service[row])
          expect(trace.start[row]).toBeGreaterThanOrEqual(trace.start[parent]);
      }
    }),
  );
});
