import fc from "fast-check";
import { expect, test } from "vitest";
import { shape, times } from "../src/trace/analysis";
import { pathsOf } from "../src/trace/paths";
import { besideTypical, verdict } from "../src/trace/verdict";
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

test("of several errors the deepest is told, then one on the critical path, then the latest", () => {
  const miss = { parent: 0, name: "cache get", service: "cache", duration: 10, error: true };
  const pay = { parent: 0, name: "POST /pay", service: "shop", start: 20, duration: 900, error: true };
  const bank = { parent: 2, name: "POST /bank", service: "bank", start: 30, duration: 100, error: true };
  const root = { ...ROOT, error: true };
  expect(said([root, miss, pay, bank])).toContain("the error begins in bank POST /bank; 4 spans failed");
  const begins = (...spans: Made[]) => said([root, ...spans]).find((text) => text.startsWith("the error"));
  const aside = { ...miss, name: "aside", start: 30, duration: 100 };
  expect(begins(pay, aside)).toContain("shop POST /pay");
  expect(begins({ ...aside, duration: 0 }, { ...aside, name: "later", start: 50, duration: 0 })).toContain(
    "later",
  );
});

test("retries say how they ended", () => {
  const call = { parent: 0, name: "POST /cards", service: "payment", duration: 100, error: true };
  const failed = [0, 200, 400].map((start) => ({ ...call, start }));
  expect(said([ROOT, ...failed])).toContain("3 tries of payment POST /cards, each failed");
  const worked = [ROOT, failed[0], failed[1], { ...call, start: 400, error: false }];
  expect(said(worked)).not.toContain("3 tries of payment POST /cards, each failed");
});

test("tries end with the one that worked, and the most of them are told", () => {
  const tries = (...failed: boolean[]) =>
    said([
      ROOT,
      ...failed.map((error, at) => {
        return { parent: 0, name: "POST /cards", service: "payment", start: at * 50, duration: 40, error };
      }),
    ]).find((text) => text.includes(" tries of "));
  const [fails, works] = [true, false];
  const told = (count: number, ending: string) => `${count} tries of payment POST /cards, ${ending}`;
  expect(tries(fails, works)).toBe(told(2, "then it worked"));
  expect(tries(fails, works, fails, fails, fails)).toBe(told(3, "each failed"));
  expect(tries(fails, fails, works, works, fails, fails)).toBe(told(3, "then it worked"));
  // Of as many, those that came to nothing.
  expect(tries(fails, works, fails, fails)).toBe(told(2, "each failed"));
  expect(tries(fails, works, works, fails)).toBe(told(2, "then it worked"));
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

const usual = (service: string, name: string, parent: number | null, p50: number) => {
  return { service, name, parent, traces: 10, calls: 10, errors: 0, p50, p95: p50 * 2, selfP50: p50 };
};

test("trace beside those alike names how much slower it is and which service is", () => {
  const trace = made([
    { name: "root", service: "shop", duration: 1000 },
    { parent: 0, name: "charge", service: "payment", start: 100, duration: 800 },
  ]);
  const paths = pathsOf(trace, times(trace).self);
  const beside = (p50: number, p95: number, charge: number) =>
    besideTypical(1000, paths, {
      traces: 10,
      inspectedBytes: 0,
      duration: { p50, p95 },
      paths: [usual("shop", "root", null, 150), usual("payment", "charge", 0, charge)],
    });
  expect(beside(400, 600, 100)).toEqual({
    row: 1,
    text: "600 ns slower than the median of 10 similar traces, and than 95 % of them; self time grew most in payment, by 700 ns",
  });
  expect(beside(900, 1200, 800)).toEqual({
    row: 0,
    text: "100 ns slower than the median of 10 similar traces, as some of them are; self time grew most in shop, by 50 ns",
  });
  expect(beside(1000, 1200, 800)?.text).toBe("no slower than the median of 10 similar traces (1.00 µs)");
  expect(
    besideTypical(1000, paths, { traces: 0, inspectedBytes: 0, duration: { p50: 0, p95: 0 }, paths: [] }),
  ).toBeNull();
});
test("error that no caller reports says who went on", () => {
  const spans = [ROOT, { parent: 0, name: "GET /rates", service: "rates", duration: 10, error: true }];
  expect(said(spans)).toContain("the error begins in rates GET /rates; shop POST /orders went on without it");
  expect(said([{ ...ROOT, error: true }, spans[1]])).toContain(
    "the error begins in rates GET /rates; 2 spans failed",
  );
});

test("error is told before an operation that most of the time was not spent in", () => {
  const step = { parent: 0, service: "shop", duration: 330 };
  const spans = [
    ROOT,
    { ...step, name: "one", start: 0 },
    { ...step, name: "two", start: 335, error: true },
    { ...step, name: "three", start: 670 },
  ];
  expect(said(spans)[0]).toContain("the error begins in shop two");
});

test("time before a consumer in which nothing ran is told first", () => {
  const sent = [
    { ...ROOT, duration: 20 },
    { parent: 0, name: "send", service: "shop", start: 10, duration: 5 },
    { parent: 1, name: "receive", service: "mailer", start: 1_020, duration: 80 },
  ];
  expect(said(sent)[0]).toBe(
    "nothing ran for 1.00 µs, 91 % of the trace, until mailer receive began: a queue, a delay, or spans that are missing",
  );
  expect(said([...sent, { parent: 2, name: "early", start: 500, duration: 10 }]).join()).not.toContain(
    "nothing ran",
  );
  expect(said([sent[0], { parent: 0, name: "soon", start: 22, duration: 80 }]).join()).not.toContain(
    "nothing ran",
  );
});

test("stretch of a span without one below it is told with what came after", () => {
  const query = { parent: 0, service: "shop", duration: 50 };
  const spans = (start: number) => [ROOT, { ...query, name: "SELECT" }, { ...query, name: "INSERT", start }];
  expect(said(spans(900))).toContain(
    "shop POST /orders has no span for 850 ns before shop INSERT: it waited for a lock or a pool, or worked by itself",
  );
  expect(said(spans(60))).toContain(
    "shop POST /orders has no span for 890 ns after shop INSERT: it waited for a lock or a pool, or worked by itself",
  );
  expect(said(spans(990)).join()).not.toContain("no span for");
  expect(said([ROOT]).join()).not.toContain("no span for");
  // What reads a message runs on after what sent it.
  const sent = (duration: number) =>
    said([
      ROOT,
      { parent: 0, name: "publish", service: "shop", start: 10, duration: 2 },
      { parent: 1, name: "process", service: "worker", start: 50, duration },
    ]).join();
  expect(sent(900)).not.toContain("no span for");
  expect(sent(100)).toContain("shop POST /orders has no span for 850 ns after shop publish");
  // A clock that was set back ended it before it began.
  const back = [ROOT, { ...query, name: "SELECT", duration: -5 }];
  expect(said(back).join()).not.toContain("no span for");
});

test("findings of any trace are of spans that it has", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.nat(20),
          fc.integer({ min: -50, max: 5_000 }),
          fc.integer({ min: -5, max: 5_000 }),
          fc.boolean(),
        ),
        {
          maxLength: 40,
        },
      ),
      (spans) => {
        const trace = made(
          inPreorder(
            spans.map(([parent, start, duration, error], at) => ({
              parent: at === 0 ? -1 : parent % at,
              start,
              duration,
              error,
            })),
          ),
        );
        const findings = verdict(trace, shape(trace.parent).size, times(trace));
        for (const { row, text } of findings) {
          expect(row).toBeGreaterThanOrEqual(0);
          expect(row).toBeLessThan(trace.count);
          expect(text).not.toMatch(/NaN|undefined|Infinity|-\d/);
        }
      },
    ),
  );
});

/** Children after their parents, siblings by start. */
function inPreorder(spans: (Made & { parent: number; start: number })[]): Made[] {
  const all: Made[] = [];
  const add = (at: number, parent: number) => {
    all.push({ ...spans[at], parent });
    const place = all.length - 1;
    const below = spans
      .map((_, child) => child)
      .filter((child) => child !== at && spans[child].parent === at);
    for (const child of below.sort((a, b) => spans[a].start - spans[b].start)) add(child, place);
  };
  if (spans.length > 0) add(0, -1);
  return all;
}
