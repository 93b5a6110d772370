import { expect, test } from "vitest";
import { colourOf, lookOf, patternOf } from "../src/looks";

const PLACES = [...Array(24).keys()];

test("24 series look different, of which the first eight have no pattern", () => {
  expect(new Set(PLACES.map(lookOf)).size).toBe(24);
  expect(PLACES.slice(0, 8).map(patternOf)).toEqual(Array(8).fill("plain"));
});

test("a legend has the colours and patterns of its lines", () => {
  const colours = PLACES.map((at) => colourOf(at, false));
  for (const at of PLACES) {
    expect(lookOf(at).endsWith(` ${patternOf(at)}`)).toBe(true);
    expect(colours[at]).toBe(colours[at % 8]);
    expect(lookOf(at).split(" ")[0]).toBe(lookOf(at % 8).split(" ")[0]);
  }
});
