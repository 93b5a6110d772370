import { Text } from "@codemirror/state";
import { expect, test } from "vitest";
import { placeOfProblem } from "../src/editor/problem";

test.each([
  ["{ foo = 1 }", 1, 3, "foo"],
  ["{ name = }", 1, 10, "}"],
  ['{ name = "😀" foo }', 1, 14, "foo"],
  ["{ } |\n  nonsense() ", 2, 3, "nonsense"],
  ['{ name = "a\\d" }', 1, 10, '"a\\d"'],
  ["{ name = ", 1, 10, ""],
  ["{ ", 9, 90, ""],
])("the mark of an error in %s", (query, line, column, expected) => {
  const text = Text.of(query.split("\n"));
  const place = placeOfProblem(text, { message: "", line, column });
  expect(place && text.sliceString(place.from, place.to)).toBe(expected);
});

test("an error without a place has no mark", () => {
  expect(placeOfProblem(Text.of(["{ }"]), { message: "too long" })).toBeNull();
  expect(placeOfProblem(Text.of([""]), { message: "", line: 0, column: 0 })).toBeNull();
});
