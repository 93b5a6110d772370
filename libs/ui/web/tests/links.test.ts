import { expect, test } from "vitest";
import type { KeyValue } from "../src/trace/details";
import { pieces } from "../src/trace/linked";
import { filled, type LinkValues, linksAt } from "../src/trace/links";

const pair = (key: string, stringValue: string): KeyValue => ({ key, value: { stringValue } });

function values(attribute: string): LinkValues {
  return {
    traceId: "1".repeat(32),
    spanId: "2".repeat(16),
    spanName: "GET /",
    service: "shop",
    start: 1_700_000_000_123_456_789n,
    end: 1_700_000_001_000_000_000n,
    resource: [pair("region", "eu")],
    span: [pair("x", attribute), { key: "n", value: { intValue: "7" } }],
  };
}

test("values of a template are those of span, resource and time", () => {
  const url = (template: string) => filled(template, values("a b&c=d/e#f"));
  expect(url("https://logs.example/q?x={span.x}&n={span.n}&r={resource.region}")).toBe(
    "https://logs.example/q?x=a%20b%26c%3Dd%2Fe%23f&n=7&r=eu",
  );
  expect(url("https://logs.example/{traceId}/{spanId}?{service}={spanName}")).toBe(
    `https://logs.example/${"1".repeat(32)}/${"2".repeat(16)}?shop=GET%20%2F`,
  );
  expect(url("http://[::1]:3000/?{start}.{start:s}.{start-1m:us}.{end+2h:ns}")).toBe(
    "http://[::1]:3000/?1700000000123.1700000000.1699999940123456.1700007201000000000",
  );
  expect(url("https://logs.example/{span.missing}")).toBeNull();
  expect(url("https://logs.example/{event.x}")).toBeNull();
});

test("no value leads elsewhere than its template", () => {
  const hostile = [
    "javascript:alert(1)",
    "@evil.example",
    ".evil.example",
    "//evil.example",
    "\\\\evil.example",
    "..",
    ".",
    "%2e%2e",
    "\r\nHost: evil.example",
    "\ud800",
    "x".repeat(10_000),
  ];
  const templates = [
    "https://a.example/{span.x}",
    "https://a.example/b/{span.x}/c",
    "https://a.example?q={span.x}",
  ];
  for (const value of hostile) {
    for (const template of templates) {
      const made = filled(template, values(value));
      if (made === null) continue;
      const url = new URL(made);
      expect([url.origin, url.username]).toEqual(["https://a.example", ""]);
      const folders = template.includes("/b/") ? 4 : 2;
      expect(url.pathname.split("/").length, made).toBe(folders);
    }
  }
  expect(filled("javascript:alert('{span.x}')", values("1"))).toBeNull();
  expect(filled("https://a.example/{span.x}", values(".."))).toBeNull();
});

test("links stand where their values are, if what they ask for is there", () => {
  const link = (title: string, url: string, match = "") => ({
    title,
    url: `https://a.example/${url}`,
    match,
  });
  const all = [
    link("region", "{resource.region}"),
    link("span", "{traceId}"),
    link("event", "{event.kind}/{traceId}"),
    link("here", "{service}", "resource.region=eu"),
    link("there", "{service}", "resource.region=us"),
    link("with x", "", "span.x"),
  ];
  const titles = (place: "resource" | "span" | "event", more: Partial<LinkValues> = {}) =>
    linksAt(place, all, { ...values("1"), ...more }).map(({ title }) => title);
  expect(titles("resource")).toEqual(["region", "here"]);
  expect(titles("span")).toEqual(["span", "with x"]);
  expect(titles("event")).toEqual([]);
  expect(titles("event", { event: [pair("kind", "k")] })).toEqual(["event"]);
});

test("addresses and ids in a text are links, and nothing else is", () => {
  const [trace, span] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
  const found = (text: string) =>
    pieces(text, (id) => id === span).map(({ text, ...rest }) => [text, ...Object.values(rest)]);
  expect(found(`00-${trace}-${span}-01`)).toEqual([["00-"], [trace, trace], ["-"], [span, span], ["-01"]]);
  expect(found("see https://a.example/x?y=1, (http://b.example).")).toEqual([
    ["see "],
    ["https://a.example/x?y=1", "https://a.example/x?y=1"],
    [", ("],
    ["http://b.example", "http://b.example"],
    [")."],
  ]);
  for (const address of [
    "https://a.example/wiki/Trace_(software)",
    "https://a.example/?x=[1,{2}]",
    "http://[::1]",
    "https://a.example/(b)/c",
  ]) {
    expect(found(`(see ${address}).`)).toEqual([["(see "], [address, address], [")."]]);
    expect(found(address)).toEqual([[address, address]]);
  }
  for (const text of [
    "javascript:alert(1)",
    "0".repeat(32),
    `${trace}0`,
    "1234567890123456",
    "https://",
    "",
  ]) {
    expect(found(text).flat().join("")).toBe(text);
    expect(found(text).every((piece) => piece.length === 1)).toBe(true);
  }
});
