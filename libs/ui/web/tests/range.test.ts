import { afterEach, expect, test, vi } from "vitest";
import { zone } from "../src/format";
import { fieldOf, rangeOfFields } from "../src/range";

const AT = Date.UTC(2026, 2, 1, 10, 0, 5) / 1000;

afterEach(() => {
  vi.unstubAllEnvs();
});

test("times of a range are written and read in the zone of the reader", () => {
  const cases = [
    ["UTC", "2026-03-01T10:00:05", "UTC"],
    ["Asia/Kolkata", "2026-03-01T15:30:05", "UTC+5:30"],
    ["America/New_York", "2026-03-01T05:00:05", "UTC−5"],
  ];
  for (const [name, field, shown] of cases) {
    vi.stubEnv("TZ", name);
    expect([fieldOf(AT), zone(AT)]).toEqual([field, shown]);
    expect(rangeOfFields(field, fieldOf(AT + 90))).toEqual({ from: AT, to: AT + 90 });
  }
});

test("times that are no range say why", () => {
  const [from, to] = [fieldOf(AT), fieldOf(AT + 1)];
  expect(rangeOfFields(to, from)).toBe("it ends before it begins");
  expect(rangeOfFields(from, from)).toBe("it ends before it begins");
  expect(rangeOfFields(from, "")).toBe("a time is missing");
  expect(rangeOfFields("1912-01-01T00:00:00", to)).toBe("no such time is stored");
  expect(rangeOfFields(from, "2912-01-01T00:00:00")).toBe("no such time is stored");
});
