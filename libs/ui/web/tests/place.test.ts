import { expect, test } from "vitest";
import { placeOf } from "../src/editor/place";

/** `¦` in a text is the cursor. */
function at(text: string) {
  const cursor = text.indexOf("¦");
  const { kind, word, key, from, to } = placeOf(text.replace("¦", ""), cursor);
  expect(from).toBe(cursor - word.length);
  expect(to).toBeGreaterThanOrEqual(cursor);
  return [kind, word, key && `of ${key}`].filter(Boolean).join(" ");
}

test.each([
  ["¦", "start"],
  ["(¦", "start"],
  ["{ ¦", "field"],
  ["{¦}", "field"],
  ["{ span.ht¦ }", "field span.ht"],
  ["{ .¦ }", "field ."],
  ["{ span:¦ }", "field span:"],
  ['{ resource."a b¦', 'field resource."a b'],
  ["{ span.http.method ¦", "operator"],
  ["{ 1 + span.n ¦", "operator"],
  ["{ span.n + ¦", "field"],
  ["{ span.http.method = ¦", "value of span.http.method"],
  ["{ status = er¦ }", "value er of status"],
  ["{ span:status != ¦ }", "value of span:status"],
  ['{ name = "GET /¦', 'value "GET / of name'],
  ['{ resource."a b" =~ ¦', 'value of resource."a b"'],
  ["{ duration >¦", "value of duration"],
  ["{ 1s < ¦", "none"],
  ["{ name = `a` ¦", "logic"],
  ["{ span.n = 1 + 2 ¦", "logic"],
  ["{ name = 1 && ¦", "field"],
  ["{ !¦", "field"],
  ["{ (name = 1 || sp¦", "field sp"],
  ["{ (name = 1) ¦", "logic"],
  ["{ name = 1 } ¦", "relation"],
  ["({ } | { }) ¦", "relation"],
  ["{ } >> ¦", "spans"],
  ["{ } && (¦", "start"],
  ["{ } | ¦", "stage"],
  ["{ } | ra¦", "stage ra"],
  ["{ } | by(¦", "field"],
  ["{ } | by(span.n ¦", "operator"],
  ["{ } | avg(¦) > 1", "field"],
  ["{ } | count() ¦", "comparison"],
  ["{ } | count() > 2 ¦", "pipe"],
  ["{ } | select(na¦", "argument na"],
  ["{ } | select(name) ¦", "pipe"],
  ["{ } | rate() ¦", "series"],
  ["{ } | rate() by (¦", "argument"],
  ["{ } | rate() by (name, res¦", "argument res"],
  ["{ } | rate() by (name) ¦", "series"],
  ["{ } | rate() by (name) | ¦", "limit"],
  ["{ } | rate() | topk(3) ¦", "series"],
  ["({ } | rate()) ¦", "series"],
  ["{ } | quantile_over_time(dur¦", "argument dur"],
  ["{ } | quantile_over_time(duration, ¦", "none"],
  ["{ } | compare({ ¦", "field"],
  ["{ } | service_graph(¦", "measure"],
  ["{ } | rate() with (¦", "hint"],
  ["{ } with(most_recent=¦", "hint value of most_recent"],
  ["{ } with(most_recent=true, ex¦", "hint ex"],
  ["{ } && { na¦ }", "field na"],
  ['{ name = "}" && ¦', "field"],
  ["{ /* } */ ¦", "field"],
  ["{ // name = ¦", "none"],
  ["{ /* na¦me */ }", "none"],
  ["count¦", "start count"],
])("what may stand in %s", (text, expected) => {
  expect(at(text)).toBe(expected);
});

test.each([
  ["{ span.ht¦tp.route = 1 }", "{ ¦ = 1 }"],
  ['{ name = "GE¦T" }', "{ name = ¦ }"],
  ['{ name = "GE¦ && kind = server && name = "b" }', '{ name = ¦ && kind = server && name = "b" }'],
  ["{ ¦ }", "{ ¦ }"],
])("what is replaced in %s", (marked, expected) => {
  const cursor = marked.indexOf("¦");
  const text = marked.replace("¦", "");
  const { from, to } = placeOf(text, cursor);
  expect(`${text.slice(0, from)}¦${text.slice(to)}`).toBe(expected);
});

test.each([
  ['{ kind = server && name = "a¦" && .n > 1 } | rate()', "{ kind = server && true && .n > 1 }"],
  ["{ kind = server && name = ¦", "{ kind = server && true"],
  ['{ kind = client } >> { .a = "}" && name = ¦ } && { .b = 1 }', '{ .a = "}" && true }'],
  ["{ kind = server || name = ¦ }", "{ kind = server || true }"],
  ['{ kind = server && name = "a¦ && .n > 1 } | rate()', "{ kind = server && true && .n > 1 }"],
  ["{ (name = ¦) }", ""],
  ["{ name = ¦ }", ""],
])("values in %s are those of the rest", (marked, expected) => {
  const { filter } = placeOf(marked.replace("¦", ""), marked.indexOf("¦"));
  // What is not closed is closed: the server takes both.
  expect(filter.replace(/\s*\}$/, "")).toBe(expected.replace(/\s*\}$/, ""));
});
