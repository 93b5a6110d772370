import { expect, test } from "vitest";
import { shape, times } from "../src/trace/analysis";
import { verdict } from "../src/trace/verdict";
import { type Made, made } from "./trace";

function said(spans: Made[]): string[] {
  const trace = made(spans);
  return verdict(trace, shape(trace.parent).size, times(trace)).map(({ text }) => text);
}

const ROOT = { name: "POST /orders", service: "shop", duration: 1000 };

test("operation that the trace waited for is named first", () => {
  expect(said([ROOT, { parent: 0, name: "charge", service: "payment", start: 100, duration: 800 }])).toEqual([
    "80 % of the critical path is payment charge (800 ns)",
  ]);
});

test("error is told where it begins", () => {
  const spans = [
    { ...ROOT, error: true },
    { parent: 0, name: "charge", service: "payment", duration: 10, error: true },
    { parent: 1, name: "POST /cards", service: "payment", duration: 5, error: true },
  ];
  expect(said(spans)).toContain("the error begins in payment POST /cards; 3 spans failed");
});

test("retries say how they ended", () => {
  const call = { parent: 0, name: "POST /cards", service: "payment", duration: 100, error: true };
  const failed = [0, 200, 400].map((start) => ({ ...call, start }));
  expect(said([ROOT, ...failed])).toContain("3 tries of payment POST /cards, each failed");
  const worked = [ROOT, failed[0], failed[1], { ...call, start: 400, error: false }];
  expect(said(worked)).not.toContain("3 tries of payment POST /cards, each failed");
});

test("many calls alike are one finding if they matter", () => {
  const calls = (duration: number) =>
    Array.from({ length: 20 }, (_, at) => ({
      parent: 0,
      name: "SELECT",
      service: "database",
      start: at * 40,
      duration,
    }));
  expect(said([ROOT, ...calls(39)])).toContain(
    "shop POST /orders calls database SELECT 20 times, 78 % of the critical path",
  );
  expect(said([ROOT, ...calls(1)]).join()).not.toContain("20 times");
});
