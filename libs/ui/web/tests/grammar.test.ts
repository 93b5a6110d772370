import { expect, test } from "vitest";
import { parse } from "yaml";
import file from "../../../../conformance/traceql_queries.yaml?raw";
import guide from "../../../../docs/traceql.md?raw";
import { parser } from "../src/editor/traceql.grammar";

interface Cases {
  valid: string[];
  valid_3_0: string[];
  valid_main: string[];
  parse_fails: string[];
  validate_fails: string[];
  unsupported: string[];
  version_dependent: { query: string; tactus: string }[];
  canonical: { query: string }[];
  eval: { query: string }[];
  metrics: { query: string }[];
}

const cases = parse(file) as Cases;

/** Sizes of numbers are not for a grammar. */
const TOO_LARGE = ["{ 300y > 1s }", "{ 9223372036854775808 = 1 }"];

function isWrong(query: string): boolean {
  let found = false;
  parser.parse(query).iterate({
    enter({ type }) {
      found ||= type.isError;
    },
  });
  return found;
}

test("queries that the server parses have no error", () => {
  const parsed = [
    ...cases.valid,
    ...cases.valid_3_0,
    ...cases.valid_main,
    ...cases.validate_fails,
    ...cases.unsupported,
    ...[...cases.version_dependent.filter(({ tactus }) => tactus !== "parse_fails"), ...cases.canonical].map(
      ({ query }) => query,
    ),
    ...[...cases.eval, ...cases.metrics].map(({ query }) => query),
  ];
  expect(parsed.length).toBeGreaterThan(650);
  expect(parsed.filter(isWrong)).toEqual([]);
});

test("queries of the guide have no error", () => {
  const queries = [...guide.matchAll(/```traceql\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    block.trim().split("\n"),
  );
  expect(queries.length).toBeGreaterThan(90);
  expect(queries.filter(isWrong)).toEqual([]);
});

test("texts that the server cannot parse have an error", () => {
  expect(cases.parse_fails.length).toBeGreaterThan(140);
  expect(cases.parse_fails.filter((query) => !isWrong(query))).toEqual(TOO_LARGE);
});

/** Spans and operators of a tree as brackets: how tightly operators bind. */
function shape(query: string): string {
  let text = "";
  const binary = /^(?:Related|Conjunction|Comparison|Arithmetic|Negation|.*Arithmetic)/;
  parser.parse(query).iterate({
    enter({ name, from, to, node }) {
      if (binary.test(name)) text += "(";
      else if (!node.firstChild && !/^[{}]$/.test(name)) text += query.slice(from, to);
    },
    leave({ name }) {
      if (binary.test(name)) text += ")";
    },
  });
  return text;
}

test.each([
  ["{ .a || .b && .c }", "((.a||.b)&&.c)"],
  ["{.a} && {.b} >> {.c}", "(.a&&(.b>>.c))"],
  ["{.a} >> {.b} && {.c}", "((.a>>.b)&&.c)"],
  ["{ -.a * .b + 1 = 2 }", "(((-(.a*.b))+1)=2)"],
  ["{ !.a = .b ^ .c ^ .d }", "((!.a)=(.b^(.c^.d)))"],
  ["({} | rate()) + 2 * 3", "((|rate())+(2*3))"],
])("operators of %s", (query, expected) => {
  expect(shape(query)).toBe(expected);
});

test("comments and names in quotes are one piece", () => {
  const tree = parser.parse('{ span."a } b"c = 1 /* } */ } // | rate()').toString();
  expect(tree).toBe(
    'Query(SpansetFilter("{",Comparison(Attribute,Equal,Integer),BlockComment,"}"),LineComment)',
  );
});
