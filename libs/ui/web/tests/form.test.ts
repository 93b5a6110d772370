import fc from "fast-check";
import { expect, test } from "vitest";
import { columnsOf, readerOf, withColumns } from "../src/search/columns";
import { conditionOf, EMPTY, fromQuery, isDuration, toQuery } from "../src/search/form";

const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.string({ unit: fc.constantFrom("\t", "\n", "\r", "\\", '"', "t", "n"), maxLength: 6 }),
);
const duration = (sign: string) => fc.constantFrom("", "250ms", "1.5s", "1h30m", `${sign} 1s`);

test("what a form writes, it reads", () => {
  const attributes = fc.uniqueArray(
    fc.record({
      key: fc.constantFrom("span.a", "b", "resource.c d"),
      value: text.filter((one) => !/^".*"$/s.test(one)),
    }),
    {
      selector: ({ key }) => key,
    },
  );
  fc.assert(
    fc.property(
      fc.record({
        service: text,
        name: text,
        minimum: duration(">"),
        maximum: duration("<"),
        failed: fc.boolean(),
        attributes,
      }),
      (form) => {
        const query = toQuery(form);
        const read = fromQuery(query);
        expect(read, query).not.toBeNull();
        if (read) expect(toQuery(read)).toBe(query);
        expect(read).toMatchObject({ minimum: form.minimum, maximum: form.maximum });
        expect(read).toMatchObject({ service: form.service, name: form.name, attributes: form.attributes });
      },
    ),
  );
});

test("value in quotes is text, and is read back so", () => {
  const written = (value: string) => toQuery({ ...EMPTY, attributes: [{ key: "customer.id", value }] });
  const read = (query: string) => fromQuery(query)?.attributes[0].value;
  expect([written("42"), written('"42"')]).toEqual(["{ .customer.id = 42 }", '{ .customer.id = "42" }']);
  expect([written('"a"'), written('"a')]).toEqual(['{ .customer.id = "a" }', '{ .customer.id = "\\"a" }']);
  for (const value of ["42", '"42"', '"true"', "-1.5", "a", '"a', '"\\"a\\""']) {
    expect(read(written(value)), value).toBe(value);
  }
});

test("name without a scope stays without one, whatever it begins with", () => {
  for (const query of [
    '{ .span.kind = "server" }',
    '{ .event.type = "a" }',
    '{ span.kind = "server" }',
    "{ .a = 1 }",
  ]) {
    const form = fromQuery(query);
    expect(form && toQuery(form)).toBe(query);
  }
});

test("NUL is escaped in values, and a new line stays in names", () => {
  expect(conditionOf("span", "k\nn", { stringValue: "a\u0000b" })).toBe('span."k\nn" = "a\\x00b"');
});

test("query that says more than a form is left alone", () => {
  for (const query of [
    "{ .a = 1 || .b = 2 }",
    "{ .a = 1 } | rate()",
    "{ duration > 1s && duration >= 2s }",
    "{ duration = 1s }",
    '{ name =~ "x" }',
    '{ name != "x" }',
    "{ .a = 1 && .a = 2 }",
    "{ .a = 1 &&",
    // Escapes that the form would write in another way, or not at all.
    '{ .a = "\\x41" }',
    '{ ."a\\u0041" = 1 }',
  ]) {
    expect(fromQuery(query), query).toBeNull();
  }
});

test("durations are those of TraceQL", () => {
  expect(["1s", "1.5ms", "1h30m", "10us"].every(isDuration)).toBe(true);
  expect(["", "1", "s", "1 s", "1d"].some(isDuration)).toBe(false);
});

test("an attribute is a condition, where TraceQL can compare its value", () => {
  expect(conditionOf("span", "http.route", { stringValue: "/a" })).toBe('span.http.route = "/a"');
  expect(conditionOf("resource", 'a "b"', { stringValue: "x\ny" })).toBe('resource."a \\"b\\"" = "x\\ny"');
  expect(conditionOf("event", "n", { intValue: "9007199254740993" })).toBe("event.n = 9007199254740993");
  expect(conditionOf("link", "d", { doubleValue: 0.5 })).toBe("link.d = 0.5");
  expect(conditionOf("span", "b", { boolValue: false })).toBe("span.b = false");
  expect(conditionOf("span", "s", { stringValue: "" })).toBe('span.s = ""');
  const none = [
    undefined,
    { doubleValue: "NaN" },
    { doubleValue: 1e300 },
    { intValue: "-9223372036854775808" },
    { bytesValue: "AQ==" },
    { arrayValue: {} },
    { stringValue: "x".repeat(2000) },
  ];
  for (const value of none) expect(conditionOf("span", "a", value)).toBeNull();
  for (const key of ["", "a\u0000b"]) expect(conditionOf("span", key, { stringValue: "a" })).toBeNull();
});

test("columns are attributes that the query brings along", () => {
  const columns = columnsOf(" span.http.route, resource.a b,status,, trace:id,span.http.route, x ");
  expect(columns).toEqual(["span.http.route", 'resource."a b"', "status", "trace:id", ".x"]);
  expect(withColumns("{ }", columns.slice(0, 2))).toBe('{ } | select(span.http.route, resource."a b")');
  expect(withColumns("{ }", [])).toBe("{ }");
  const attributes = (value: string) => [
    { key: "http.route", value: { stringValue: value } },
    { key: "a b", value: { intValue: 3 } },
  ];
  const trace = {
    traceID: "1",
    spanSets: [{ spans: ["/a", "/b", "/a"].map((value) => ({ attributes: attributes(value) })) }],
  };
  const query = withColumns("{ }", columns);
  const shown = columns.map((column) => readerOf(column, query)(trace));
  expect(shown).toEqual(["/a, /b", "3", "", "1", ""]);
});

test("columns may be written in quotes, with commas in them", () => {
  expect(columnsOf('span."user name", span."a,\\"b", "c, d" ,.e,parent.span."f g", status')).toEqual([
    'span."user name"',
    'span."a,\\"b"',
    '."c, d"',
    ".e",
    'parent.span."f g"',
    "status",
  ]);
  // Of quotes that stay open, or are within a name, the name has them.
  expect(columnsOf('span.a"b, c')).toEqual(['span."a\\"b"', ".c"]);
});

test("columns of intrinsics show what answers have in other fields", () => {
  const columns = columnsOf("name, span:duration, status, rootName, trace:duration, span:id");
  const query = withColumns('{ .a = "status" }', columns);
  const status = { key: "status", value: { stringValue: "error" } };
  const spans = [{ spanID: "1f", name: "charge", durationNanos: "1500000", attributes: [status] }];
  const trace = { traceID: "1", rootTraceName: "POST /", durationMs: 20, spanSets: [{ spans }] };
  const shown = columns.map((column) => readerOf(column, query)(trace));
  expect(shown).toEqual(["charge", "1.50 ms", "error", "POST /", "20.0 ms", "1f"]);
  const rootless = { ...trace, rootServiceName: "<root span not yet received>" };
  expect(readerOf("rootServiceName", query)(rootless)).toBe("");
});

test("columns of one key and several scopes are told apart where that is known", () => {
  const columns = columnsOf("span.a, resource.a");
  const query = withColumns('{ .b = "resource.a" && name != `span.a` }', columns);
  const of = (...values: object[]) => ({
    traceID: "1",
    spanSets: [{ spans: [{ attributes: values.map((value) => ({ key: "a", value })) }] }],
  });
  const shown = (trace: ReturnType<typeof of>) => columns.map((column) => readerOf(column, query)(trace));
  expect(shown(of({ intValue: "1" }, { stringValue: "x" }))).toEqual(["1", "x"]);
  expect(shown(of({ intValue: "1" }))).toEqual(Array(2).fill("1 (span or resource)"));
  const list = { arrayValue: { values: [{ intValue: "1" }, { stringValue: "x" }] } };
  expect(readerOf("span.a", withColumns("{ }", ["span.a"]))(of(list))).toContain('"x"');
  const filtered = '{ resource.a = "x" } | select(span.a)';
  expect(readerOf("span.a", filtered)(of({ stringValue: "x" }, { intValue: "1" }))).toBe("1");
});
