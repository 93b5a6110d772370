import { expect, test } from "vitest";
import { align, compared, flatten } from "../src/compare/align";
import { serverEvents } from "../src/events";
import {
  bytes,
  dated,
  duration,
  integer,
  moment,
  notShown,
  percent,
  plain,
  rate,
  ticks,
} from "../src/format";
import { hash, look, monogram } from "../src/looks";
import { cut, inSentence, named, visible } from "../src/names";
import { around, defaultRange, rangeOf, seconds, tooLong } from "../src/range";
import { valueText } from "../src/trace/details";
import { flame } from "../src/trace/flame-boxes";
import { pathsOf } from "../src/trace/paths";
import { received } from "../src/trace/received";
import { made } from "./trace";

test("durations have three digits and their unit", () => {
  const shown = [0, 17, 1500, 250e6, 1.84e9, 61e9, 3661e9, 183_600e9, -2e6].map(duration);
  expect(shown).toEqual([
    "0",
    "17 ns",
    "1.50 µs",
    "250 ms",
    "1.84 s",
    "1 m 1 s",
    "1 h 1 m 1 s",
    "2 d 3 h",
    "-2.00 ms",
  ]);
  expect([999_600, 999_499, 59.96e9, 9.999e6].map(duration)).toEqual(["1.00 ms", "999 µs", "1 m", "10.0 ms"]);
  expect(bytes(3_100_000_000)).toBe("3.10 GB");
  expect(integer(1234567)).toBe("1 234 567");
  expect([1, 2000].map((count) => notShown(count, "call"))).toEqual([
    "1 more call is not shown.",
    "2 000 more calls are not shown.",
  ]);
});

test("times along an axis are told apart however short it is", () => {
  const axis = (from: number, to: number) => ticks([0, 0.5, 1].map((share) => from + share * (to - from)));
  expect(axis(0, 2e9)).toEqual(["0", "1.00 s", "2.00 s"]);
  expect(axis(12e9, 12.01e9)).toEqual(["12.0 s", "+5.00 ms", "+10.0 ms"]);
  expect(axis(3_600e9, 3_600e9 + 1_000)).toEqual(["1 h", "+500 ns", "+1.00 µs"]);
});

test("rates and counts are written without powers of ten, and counts are whole", () => {
  expect([1000, 12_345.6, 90, 0.5, 0.25 / 60, 1e-5].map(rate)).toEqual([
    "1 000/s",
    "12 346/s",
    "90.0/s",
    "30.0/min",
    "15.0/h",
    "0.036/h",
  ]);
  expect([12_345, 1234.5, 0.1234, 7].map(plain)).toEqual(["12 345", "1 235", "0.123", "7"]);
  expect([0, 1e-7, 0.005, 0.5, 1].map(percent)).toEqual(["0 %", "< 0.01 %", "0.5 %", "50 %", "100 %"]);
});

test("moments have milliseconds, and their day and zone where that is not plain", () => {
  const at = new Date(2026, 2, 1, 9, 5, 7, 42).getTime();
  expect(moment(at, at)).toBe("09:05:07.042");
  expect(moment(at, at + 86_400_000)).toBe("2026-03-01 09:05:07.042");
  expect(dated(at)).toMatch(/^2026-03-01 09:05:07\.042 UTC/);
});

test("values are text, and keep their kind within lists", () => {
  const values = [
    { stringValue: "1" },
    { intValue: "1" },
    { intValue: "9223372036854775807" },
    { doubleValue: 0.5 },
    { boolValue: false },
  ];
  expect(values.map(valueText)).toEqual(["1", "1", "9223372036854775807", "0.5", "false"]);
  const list = JSON.parse(valueText({ arrayValue: { values } }));
  expect(list).toEqual(["1", 1, "9223372036854775807", 0.5, false]);
  // Short lists have one line, longer ones one for each value.
  const texts = (count: number) => ({ arrayValue: { values: Array(count).fill({ stringValue: "abc" }) } });
  expect(valueText(texts(3))).toBe('["abc","abc","abc"]');
  expect(valueText(texts(20)).split("\n")).toHaveLength(22);
});

test("look of a service follows from its name", () => {
  expect(hash("shop")).toBe(hash("shop"));
  expect(look("shop")).toMatch(/^service-[0-7] (plain|striped|dotted)$/);
  expect(["user-service", "shop", "ÄÖ", "", "--"].map(monogram)).toEqual(["US", "SH", "ÄÖ", "–", "–"]);
});

test("characters that hide or turn text are shown", () => {
  expect(visible("a\u0000b\u202ec\td\ne")).toBe("a␀b⟦U+202E⟧c\td\ne");
  expect(visible("a\u061cb\u00adc")).toBe("a⟦U+061C⟧b⟦U+00AD⟧c");
  expect(visible("a\u200bb\u200dc")).toBe("a⟦U+200B⟧b⟦U+200D⟧c");
});

test("joiners that belong to how a text is written stay", () => {
  for (const text of ["👩‍👩‍👧‍👦 🏳️‍🌈 👩🏽‍🚒", "می‌خواهم", "क्‍ष"]) expect(visible(text)).toBe(text);
});

test("marks of one character are cut before they cover what is above", () => {
  expect(visible("é Ṩ\u0301")).toBe("é Ṩ\u0301");
  expect(visible(`a${"\u0301".repeat(300)}b`)).toBe(`a${"\u0301".repeat(8)}⟦+292 marks⟧b`);
});

test("names are never empty, nor longer than a line", () => {
  expect(["", " \n", "GET /"].map((name) => named(name))).toEqual(["(no name)", "(blank)", "GET /"]);
  expect(named("x".repeat(5000))).toHaveLength(161);
  expect(cut("ab😀", 3)).toBe("ab…");
  expect(inSentence("shop")).toBe("shop");
  expect(inSentence("\u202eשלום")).toBe("\u2068⟦U+202E⟧שלום\u2069");
});

test("range is fixed, or ends now", () => {
  const range = (query: string) => rangeOf(new URLSearchParams(query), 0, 10_000_000_000);
  expect(range("from=5&to=9")).toEqual({ from: 5, to: 9 });
  expect(range("from=9&to=5&range=5m")).toEqual({ from: 10_000_000 - 300, to: 10_000_000 });
  expect(range("from=9999990")).toEqual({ from: 9_999_990, to: 10_000_000 });
  expect(range("from=10000001&range=5m")).toEqual({ from: 10_000_000 - 300, to: 10_000_000 });
  expect(range("from=5&to=9000000000&range=5m")).toEqual({ from: 10_000_000 - 300, to: 10_000_000 });
  for (const none of ["nonsense", "0s", "000d"]) {
    expect(range(`range=${none}`)).toEqual({ from: 10_000_000 - 3600, to: 10_000_000 });
  }
  expect([seconds("2d"), seconds("x")]).toEqual([172_800, null]);
  expect(tooLong({ from: 0, to: 7200 }, 3600, "A search")).toBe(
    "A search can cover 1 hour at most on this server",
  );
  expect(tooLong({ from: 0, to: 7200 }, 0, "A search")).toBeNull();
});

test("range that nobody chose is as long as the server allows", () => {
  expect([0, 3_600, 3_599, 300, 90].map(defaultRange)).toEqual(["1h", "1h", "15m", "5m", "90s"]);
  const none = new URLSearchParams();
  expect(rangeOf(none, 1_800, 10_000_000_000)).toEqual({ from: 10_000_000 - 900, to: 10_000_000 });
  expect(rangeOf(new URLSearchParams("range=3h"), 1_800, 10_000_000_000).from).toBe(10_000_000 - 10_800);
  const linked = (limit: number) => around(1_000_000, 3_600, 86_400, limit);
  expect(linked(0)).toEqual({ from: 996_400, to: 1_086_400 });
  expect(linked(90_000)).toEqual(linked(0));
  const { from, to } = linked(86_400);
  expect([from < 1_000_000, to > 1_080_000, to - from <= 86_400]).toEqual([true, true, true]);
  expect(around(10, 3_600, 3_600, 0).from).toBe(1);
});

test("events are read however they are cut", async () => {
  const text = 'event: difference\ndata: {"a":1}\n\n:\n\nevent: complete\ndata: é\n\n';
  const all = new TextEncoder().encode(text);
  for (const size of [1, 7, all.length]) {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < all.length; at += size) controller.enqueue(all.slice(at, at + size));
        controller.close();
      },
    });
    const events = [];
    for await (const event of serverEvents(body)) events.push(event);
    expect(events).toEqual([
      { name: "difference", data: '{"a":1}' },
      { name: "complete", data: "é" },
    ]);
  }
});

test("an answer is kept while it comes, and none if it breaks off", async () => {
  const answer = (breaks: boolean) => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        if (sent <= 3) controller.enqueue(new Uint8Array(5_000_000));
        else if (breaks) controller.error(new TypeError("network error"));
        else controller.close();
      },
    });
    return new Response(body, { headers: { "Content-Type": "application/json" } });
  };
  const told: number[] = [];
  const whole = await received(answer(false), (bytes) => told.push(bytes));
  expect([whole.size, whole.type, told]).toEqual([15_000_000, "application/json", [10_000_000, 15_000_000]]);
  await expect(received(answer(true), () => {})).rejects.toThrow("network error");
});

test("two traces are laid over each other by their calls", () => {
  const side = (calls: number, duration: number) => {
    const trace = made([
      { name: "root", duration: 100 },
      ...Array.from({ length: calls }, () => ({ parent: 0, name: "SELECT", duration })),
    ]);
    return pathsOf(trace, Float64Array.from(trace.duration));
  };
  const { pairs, hidden } = flatten(align(side(1, 10), side(3, 20)), 10);
  expect(hidden).toBe(0);
  expect(pairs.map(({ a, b, depth, change }) => [a?.name, b?.calls, depth, change])).toEqual([
    // As long as before, whatever ran side by side in it.
    ["root", 1, 1, 0],
    ["SELECT", 3, 2, 50],
  ]);
  const only = flatten(align(side(0, 0), side(1, 5)), 1);
  expect([only.pairs.length, only.hidden]).toEqual([1, 1]);
});

test("what only one of two traces does is shown, however much else they do", () => {
  const side = (duration: number, more: string[]) => {
    const calls = Array.from({ length: 600 }, (_, at) => ({ parent: 0, name: `GET /${at}`, duration }));
    const others = more.map((name) => ({ parent: 0, name, duration: 1 }));
    const trace = made([{ name: "root", duration: 100 }, ...calls, ...others]);
    return pathsOf(trace, Float64Array.from(trace.duration));
  };
  const { all, only } = compared(side(5, []), side(10, ["DELETE"]));
  expect([all.pairs.length, all.hidden]).toEqual([500, 102]);
  expect([only.pairs.map(({ a, b }) => [a, b?.name]), only.hidden]).toEqual([[[null, "DELETE"]], 0]);
});

test("calls that call each other as often as there are spans are compared and drawn", () => {
  const count = 20_000;
  const trace = made(
    Array.from({ length: count }, (_, row) => ({ parent: row - 1, name: `${row}`, duration: 1 })),
  );
  const paths = pathsOf(trace, new Float64Array(count).fill(1));
  const { all, only } = compared(paths, paths);
  const { pairs, hidden } = all;
  expect(only).toEqual({ pairs: [], hidden: 0 });
  expect([pairs.length, pairs[499].depth, hidden]).toEqual([500, 500, count - 500]);
  expect(Object.keys(pairs[0].a ?? {})).not.toContain("children");
  const { boxes, depth, deeper } = flame(paths);
  expect([boxes.length, depth, deeper]).toEqual([201, 201, 1]);
  expect([boxes[0].call.longest, boxes[1].call.name, boxes[1].width]).toEqual([-1, "0", 1]);
});
