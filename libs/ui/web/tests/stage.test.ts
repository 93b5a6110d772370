import { expect, test } from "vitest";
import { withColumns } from "../src/search/columns";
import { conditionsOf, filterOf, isMetrics, withStage } from "../src/search/stage";

test("stage goes before hints, which stay", () => {
  const rate = (query: string) => withStage(query, "rate()");
  expect(rate("{ }")).toBe("{ } | rate()");
  expect(rate("{ } with (most_recent = true)")).toBe("{ } | rate() with(most_recent = true)");
  expect(rate("{ } with(a=1) with(b=2)")).toBe("{ } | rate() with(b=2)");
  expect(rate("{ } // with(a=1)")).toBe("{ } // with(a=1)\n| rate()");
  expect(rate('{ name = "with(" && span.with = `with(` } | by(.with) | count() > 1')).toBe(
    '{ name = "with(" && span.with = `with(` } | by(.with) | count() > 1 | rate()',
  );
});

test("hint is added unless the query has it", () => {
  const fine = (query: string) => withStage(query, "rate()", "buckets=4");
  expect(fine("{ }")).toBe("{ } | rate() with(buckets=4)");
  expect(fine("{ } with(most_recent=true)")).toBe("{ } | rate() with(most_recent=true, buckets=4)");
  expect(fine("{ } with(buckets=2)")).toBe("{ } | rate() with(buckets=2)");
});

test("columns are selected before hints", () => {
  expect(withColumns("{ } with(most_recent=true)", ["span.a"])).toBe(
    "{ } | select(span.a) with(most_recent=true)",
  );
});

test("columns of a query for metrics are selected of the spans that it is made of", () => {
  for (const query of ["{ } | rate() by (name) with(buckets=4)", "({ } | rate()) / ({ .a = 1 } | rate())"]) {
    expect(withColumns(query, ["span.a"]), query).toBe("{ } | select(span.a)");
    expect(withColumns(query, []), query).toBe(query);
  }
});

test("queries for metrics are told from their text", () => {
  for (const query of [
    "{ } | rate()",
    "{ }|count_over_time() by (name)",
    '{ name = "|" } | /* why */ quantile_over_time(duration, .9)',
    "({ } | rate()) / ({ } | count_over_time())",
  ]) {
    expect(isMetrics(query), query).toBe(true);
  }
  for (const query of [
    "{ }",
    "{ } | count() > 2",
    '{ name = "| rate()" }',
    "{ } // | rate()",
    "{ name = `| rate` } | select(rate)",
  ]) {
    expect(isMetrics(query), query).toBe(false);
  }
});

test("filter of a query is known where that alone chooses its spans", () => {
  const filters = {
    " { status = error } ": "{ status = error }",
    '{ name = "}" && span.a = `{` }|select( span."a)b" , .c )': '{ name = "}" && span.a = `{` }',
    "{ } | select(.a) | select(.b) with(most_recent=true)": "{ }",
    "// all\n{ }": "{ }",
  };
  for (const [query, filter] of Object.entries(filters)) expect(filterOf(query), query).toBe(filter);
  const others = [
    "",
    "nonsense",
    "({ })",
    "{ .a = 1",
    "{ } >> { }",
    "{ } && { }",
    "{ } | { }",
    "{ } | rate()",
  ];
  others.push("{ } | by(.a)", "{ } | count() > 3", "{ } | coalesce()", "{ } | select(.a) | count() > 1");
  for (const query of others) expect(filterOf(query), query).toBeNull();
});

test("text that is no query, or is nothing but parentheses, is not one for metrics", () => {
  for (const text of [
    "{ )",
    "} ( ) | rate()",
    ") | (",
    "(".repeat(50_000),
    `${"(".repeat(50_000)}{ } | rate()`,
  ]) {
    expect(isMetrics(text), text.slice(0, 20)).toBe(false);
  }
});

test("condition of a filter can be followed by another one", () => {
  const conditions = {
    '{ name = "GET /users/{id}" } | select(.a)': 'name = "GET /users/{id}"',
    "{ }": "",
    "{ .a = 1 // one\n}": ".a = 1 // one\n",
  };
  for (const [query, condition] of Object.entries(conditions))
    expect(conditionsOf(query), query).toBe(condition);
  expect(conditionsOf("{ } >> { }")).toBeNull();
});
