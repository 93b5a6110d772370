import fc from "fast-check";
import { expect, test } from "vitest";
import { serverEvents } from "../src/events";
import { duration } from "../src/format";
import { cut, inSentence, named, visible } from "../src/names";
import { valueText } from "../src/trace/details";
import { pieces } from "../src/trace/linked";

const UNITS: Record<string, number> = { d: 86_400e9, h: 3_600e9, m: 60e9, s: 1e9, ms: 1e6, µs: 1e3, ns: 1 };
/** A unit is not written so often: the next one is. */
const MOST: Record<string, number> = { h: 24, m: 60, s: 60, ms: 1000, µs: 1000, ns: 1000 };

test("a duration says how long it is, in units that are not too small", () => {
  const nanos = fc.oneof(
    fc.integer({ min: -2000, max: 2000 }),
    fc.integer({ min: -1e15, max: 1e15 }),
    fc.maxSafeInteger(),
  );
  fc.assert(
    fc.property(nanos, (time) => {
      const text = duration(time);
      const parts = [...text.matchAll(/([\d.]+) (\S+)/g)].map(([, count, unit]) => ({
        count: Number(count),
        unit,
      }));
      for (const { count, unit } of parts) expect(count).toBeLessThan(MOST[unit] ?? Infinity);
      const size = parts.reduce((sum, { count, unit }) => sum + count * UNITS[unit], 0);
      const off = Math.abs(time) < 59.95e9 ? Math.abs(time) * 0.006 : 0.5e9;
      expect(Math.abs((time < 0 ? -size : size) - time)).toBeLessThanOrEqual(off);
    }),
  );
});

const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: fc.constantFrom(..."aא \u061c\u200d\u202e\u2067\u0301😀\ud800") }),
);

test("no text hides a character, or is nothing where a name is wanted", () => {
  fc.assert(
    fc.property(text, fc.nat(9), (value, most) => {
      expect(visible(value)).not.toMatch(/\p{Bidi_Control}/u);
      expect(named(value)).not.toBe("");
      expect(inSentence(value)).not.toBe("");
      expect(cut(value, most).length).toBeLessThanOrEqual(most + 1);
    }),
  );
});

test("pieces of a text are the text, and lead to the web alone", () => {
  const part = fc.constantFrom(
    ..."http:// https://a.b/c?d=e 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 . ) ' % [ ]: é /x ://".split(
      " ",
    ),
    " ",
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), fc.boolean(), (parts, hasSpan) => {
      const value = parts.join("");
      const all = pieces(value, () => hasSpan);
      expect(all.map(({ text }) => text).join("")).toBe(value);
      for (const { url } of all) if (url) expect(new URL(url).protocol).toMatch(/^https?:$/);
    }),
  );
});

test("any value is a text", () => {
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.record({ stringValue: text }),
      fc.record({ intValue: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String) }),
      fc.record({ doubleValue: fc.oneof(fc.double(), fc.constantFrom("NaN", "-Infinity")) }),
      fc.record({ arrayValue: fc.record({ values: fc.array(tie("value")) }) }),
      fc.record({
        kvlistValue: fc.record({ values: fc.array(fc.record({ key: text, value: tie("value") })) }),
      }),
    ),
  }));
  fc.assert(
    fc.property(value, (any) => {
      const shown = valueText(any as Parameters<typeof valueText>[0]);
      expect(shown).toBeTypeOf("string");
      if (typeof any === "object" && any && "arrayValue" in any) JSON.parse(shown);
    }),
  );
});

test("events are those that were sent, however they are cut", async () => {
  const event = fc.record({ name: fc.constantFrom("difference", "complete"), data: fc.json() });
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 5 }), sizes, async (events, sizes) => {
      const sent = events.map(({ name, data }) => `:\n\nevent: ${name}\ndata: ${data}\n\n`).join("");
      const bytes = new TextEncoder().encode(sent);
      let at = 0;
      let turn = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at >= bytes.length) return controller.close();
          const size = sizes[turn++ % sizes.length];
          controller.enqueue(bytes.slice(at, at + size));
          at += size;
        },
      });
      const found = [];
      for await (const one of serverEvents(body)) found.push(one);
      expect(found).toEqual(events);
    }),
  );
});
