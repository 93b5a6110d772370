import { attribute } from "./form";
import type { SearchTrace } from "./query";
import { withStage } from "./stage";

/** More would not fit beside the rest. */
const MOST = 6;
const INTRINSIC =
  /^([a-z]+:[A-Za-z]+|name|status|kind|duration|statusMessage|rootName|rootServiceName|traceDuration)$/;
const SCOPE = /^(span|resource|event|link|instrumentation|parent)?\./;

/** Attributes of a list with commas, as TraceQL writes them. */
export function columnsOf(list: string): string[] {
  const all = list
    .split(",")
    .map((key) => key.trim())
    .filter(Boolean)
    .map((key) => (INTRINSIC.test(key) ? key : attribute(key)));
  return [...new Set(all)].slice(0, MOST);
}

/** A query that brings these attributes along. */
export function withColumns(query: string, columns: string[]): string {
  return columns.length === 0 ? query : withStage(query, `select(${columns.join(", ")})`);
}

/** The values of a column in the spans that matched: answers name attributes without their scope. */
export function valuesOf(trace: SearchTrace, column: string): string {
  const key = column.replace(SCOPE, "").replace(/^"(.*)"$/, "$1");
  const spans = (trace.spanSets ?? []).flatMap(({ spans = [] }) => spans);
  const values = spans
    .flatMap(({ attributes = [] }) => attributes.filter((attribute) => attribute.key === key))
    .map(({ value }) => String(Object.values(value ?? {})[0] ?? ""));
  return [...new Set(values)].join(", ");
}
