import { afterEach, expect, test, vi } from "vitest";
import { timesAmong, zone, zoneOf } from "../src/format";
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

/** Europe/Berlin set its clocks back at this moment: the hour from 2:00 came twice. */
const BACK = Date.UTC(2026, 9, 25, 1) / 1000;

test("field that nobody changed means the moment that it was made of, in the hour that comes twice as well", () => {
  vi.stubEnv("TZ", "Europe/Berlin");
  const shown = { from: BACK + 600, to: BACK + 1200 };
  const [from, to] = [fieldOf(shown.from), fieldOf(shown.to)];
  expect(fieldOf(BACK - 3000)).toBe(from);
  expect(rangeOfFields(from, to, shown)).toEqual(shown);
  const changed = fieldOf(BACK + 7200);
  expect(rangeOfFields(from, changed, shown)).toEqual({ from: shown.from, to: BACK + 7200 });
});

test("moments on both sides of a change of the clock have no zone in common", () => {
  vi.stubEnv("TZ", "Europe/Berlin");
  const [before, after] = [BACK * 1000 - 1, BACK * 1000];
  expect([zoneOf([before]), zoneOf([after, after + 5]), zoneOf([before, after])]).toEqual([
    "UTC+2",
    "UTC+1",
    null,
  ]);
});

test("moments on both sides of a change of the clock are told with their zones", () => {
  vi.stubEnv("TZ", "Europe/Berlin");
  const [first, second, later] = [BACK - 1800, BACK + 1800, BACK + 5400].map((seconds) => seconds * 1000);
  const both = timesAmong([first, second]);
  expect([first, second].map(both)).toEqual(["2026-10-25 02:30:00 UTC+2", "2026-10-25 02:30:00 UTC+1"]);
  expect(timesAmong([second, later])(second)).toBe("2026-10-25 02:30:00");
});
