import { duration } from "../format";
import { valueText } from "../trace/details";
import { attribute } from "./form";
import { type FoundSpan, rootOf, type SearchTrace } from "./query";
import { metricsOf, withStage } from "./stage";

/** More would not fit beside the rest. */
const MOST = 6;
const INTRINSIC =
  /^([a-z]+:[A-Za-z]+|name|status|kind|duration|statusMessage|rootName|rootServiceName|traceDuration|nestedSet(Left|Right|Parent))$/;

/** Between commas; those in quotes are part of a name. */
const BETWEEN = /(?:"(?:[^"\\]|\\.)*"|[^,])+/g;
/** A name in quotes, as the editor writes it too. */
const QUOTED =
  /^((span|resource|event|link|instrumentation|parent(\.(span|resource))?)?\.)?"(?:[^"\\]|\\.)*"$/;

/** Attributes of a list with commas, as TraceQL writes them. */
export function columnsOf(list: string): string[] {
  const all = (list.match(BETWEEN) ?? [])
    .map((key) => key.trim())
    .filter(Boolean)
    .map((key) => {
      if (QUOTED.test(key)) return key.startsWith('"') ? `.${key}` : key;
      return INTRINSIC.test(key) ? key : attribute(key);
    });
  return [...new Set(all)].slice(0, MOST);
}

/** A query that brings these attributes along; of one for metrics what finds its spans, which is all that a search runs. */
export function withColumns(query: string, columns: string[]): string {
  if (columns.length === 0) return query;
  return withStage(metricsOf(query)?.spans ?? query, `select(${columns.join(", ")})`);
}

/** What answers have in fields of their own, and not among attributes. */
const FIELDS: Record<string, (trace: SearchTrace, span: FoundSpan) => string> = {
  name: (_, span) => span.name ?? "",
  duration: (_, span) => (span.durationNanos === undefined ? "" : duration(Number(span.durationNanos))),
  id: (_, span) => span.spanID ?? "",
  rootName: (trace) => rootOf(trace)?.name ?? "",
  rootServiceName: (trace) => rootOf(trace)?.service ?? "",
  traceDuration: (trace) => (trace.durationMs ? duration(trace.durationMs * 1e6) : "< 1 ms"),
  traceId: (trace) => trace.traceID,
};

const FIELD_OF: Record<string, string> = {
  name: "name",
  "span:name": "name",
  duration: "duration",
  "span:duration": "duration",
  "span:id": "id",
  rootName: "rootName",
  "trace:rootName": "rootName",
  rootServiceName: "rootServiceName",
  "trace:rootService": "rootServiceName",
  traceDuration: "traceDuration",
  "trace:duration": "traceDuration",
  "trace:id": "traceId",
};

/** Attributes and intrinsics of a query whose names answers shorten; of quoted texts nothing. */
const REFERENCE =
  /(?:\b(span|resource|event|link|instrumentation|parent))?\.(?:"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w./-]*))|(?<![\w.:])(span:)?(status|statusMessage|kind)\b|"(?:[^"\\]|\\.)*"|`[^`]*`/g;

interface Reference {
  /** As answers name it. */
  key: string;
  /** What tells it from others with that key. */
  scope: string;
}

function referencesOf(query: string): Reference[] {
  return [...query.matchAll(REFERENCE)].flatMap(([, scope, quoted, plain, , intrinsic]) => {
    if (intrinsic !== undefined) return [{ key: intrinsic, scope: "intrinsic" }];
    const key = quoted ?? plain;
    return key === undefined ? [] : [{ key, scope: scope ?? "any scope" }];
  });
}

/**
 * Reads the values of a column from the spans that matched. Answers name attributes without their scope, in the order in which
 * the query names them, and leave out those that a span has not: of several with one key it is not always known which is which.
 */
export function readerOf(column: string, query: string): (trace: SearchTrace) => string {
  const field = FIELDS[FIELD_OF[column] ?? ""];
  const own = referencesOf(column)[0] ?? { key: column, scope: "" };
  const scopes = [
    ...new Set(
      referencesOf(query)
        .filter(({ key }) => key === own.key)
        .map(({ scope }) => scope),
    ),
  ];
  const read = (span: FoundSpan): string[] => {
    const all = (span.attributes ?? [])
      .filter(({ key }) => key === own.key)
      .map(({ value }) => valueText(value));
    if (scopes.length <= 1 || all.length === 0) return all;
    if (all.length === scopes.length) return [all[scopes.indexOf(own.scope)] ?? ""];
    return all.map((value) => `${value} (${scopes.join(" or ")})`);
  };
  return (trace) => {
    const spans = (trace.spanSets ?? []).flatMap(({ spans = [] }) => spans);
    const values = spans.flatMap((span) => (field ? [field(trace, span)] : read(span)));
    return [...new Set(values)].filter(Boolean).join(", ");
  };
}
