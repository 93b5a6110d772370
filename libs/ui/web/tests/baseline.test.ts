import { expect, test } from "vitest";
import { baselineOf } from "../src/search/baseline";

test("baseline keeps the places of a query and drops how spans went", () => {
  const baselines = {
    '{ resource.service.name = "a && b" && kind = server && status = error }':
      '{ resource.service.name = "a && b" && kind = server }',
    "{ name =~ `GET.*` && duration > 500ms }": "{ name =~ `GET.*` }",
    '{ .route = "/a" && span.http.status_code >= 500 && .user != "b" }': '{ .route = "/a" }',
    '{ span."a b" = 1 && trace:duration > 1s }': '{ span."a b" = 1 }',
  };
  for (const [query, baseline] of Object.entries(baselines)) expect(baselineOf(query)).toBe(baseline);
});

test("baseline of a query that says more, or nothing of how spans went, is all spans", () => {
  const queries = [
    "{ }",
    "{ status = error }",
    '{ name = "a" }',
    '{ name = "a" || status = error }',
    '{ (name = "a") && status = error }',
    '{ name = "a" && status = error && }',
    '{ name = "a" && status = error } >> { }',
    '{ name = "a" && status = error } | count() > 2',
    "not a query",
  ];
  for (const query of queries) expect(baselineOf(query)).toBe("{ }");
});
