import { expect, test } from "vitest";
import { placeOf } from "../src/editor/context";

/** `|` in a text is the cursor. */
function at(text: string) {
  const cursor = text.indexOf("¦");
  const { kind, word, key, from } = placeOf(text.replace("¦", ""), cursor);
  expect(from).toBe(cursor - word.length);
  return [kind, word, key].filter(Boolean).join(" ");
}

test.each([
  ["¦", "none"],
  ["{ ¦", "key"],
  ["{¦}", "key"],
  ["{ span.ht¦ }", "key span.ht"],
  ['{ resource."a b¦', 'key resource."a b'],
  ["{ span.http.method ¦", "operator"],
  ["{ span.http.method = ¦", "value span.http.method"],
  ["{ status = er¦ }", "value er status"],
  ['{ name = "GET /¦', 'value "GET / name'],
  ["{ duration >¦", "value duration"],
  ["{ name = `a` ¦", "logic"],
  ["{ name = 1 && ¦", "key"],
  ["{ (name = 1 || sp¦", "key sp"],
  ["{ (name = 1) ¦", "logic"],
  ["{ name = 1 } ¦", "logic"],
  ["{ } | ¦", "stage"],
  ["{ } | ra¦", "stage ra"],
  ["{ } | rate() by (¦", "argument"],
  ["{ } | rate() by (name, res¦", "argument res"],
  ["{ } | quantile_over_time(dur¦", "argument dur"],
  ["{ } | quantile_over_time(duration, ¦", "none"],
  ["{ } | select(a) ¦", "logic"],
  ["{ } && { na¦ }", "key na"],
  ['{ name = "}" && ¦', "key"],
])("what may stand in %s", (text, expected) => {
  expect(at(text)).toBe(expected);
});
