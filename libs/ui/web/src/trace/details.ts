/** OTLP's JSON, as far as it is shown. */
export interface AnyValue {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: string | number;
  doubleValue?: number | string;
  bytesValue?: string;
  arrayValue?: { values?: AnyValue[] };
  kvlistValue?: { values?: KeyValue[] };
}

export interface KeyValue {
  key: string;
  value?: AnyValue;
}

export interface Span {
  spanId: string;
  parentSpanId?: string;
  name?: string;
  traceState?: string;
  startTimeUnixNano?: string;
  endTimeUnixNano?: string;
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
  events?: SpanEvent[];
  droppedEventsCount?: number;
  links?: SpanLink[];
  droppedLinksCount?: number;
  status?: { message?: string; code?: number | string };
}

export interface SpanEvent {
  name?: string;
  timeUnixNano?: string;
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
}

export interface SpanLink {
  traceId?: string;
  spanId?: string;
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
}

interface Resource {
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
}

export interface Detail {
  span: Span;
  resource: Resource;
  scope: Resource & { name?: string; version?: string };
}

/** A trace, or some spans of it, as the server answers. */
export interface OtlpTrace {
  resourceSpans?: {
    resource?: Resource;
    scopeSpans?: { scope?: Detail["scope"]; spans?: Span[] }[];
  }[];
}

export function detailsOf(trace: OtlpTrace): Detail[] {
  return (trace.resourceSpans ?? []).flatMap(({ resource, scopeSpans }) =>
    (scopeSpans ?? []).flatMap(({ scope, spans }) =>
      (spans ?? []).map((span) => ({ span, resource: resource ?? {}, scope: scope ?? {} })),
    ),
  );
}

/** Details of some spans. */
export interface FoundDetails {
  details: Detail[];
  /** What is to be said if that may not be all; else empty. */
  message: string;
}

const KEPT = 5_000;
/** Spans that the server tells of in one answer. */
const AT_ONCE = 200;

/** Details of the spans of one trace, the last that were asked for. Several spans may share an id. */
export class Details {
  private readonly kept = new Map<string, Detail[]>();

  constructor(private readonly load: (ids: string[], signal: AbortSignal) => Promise<FoundDetails>) {}

  async get(id: string, signal: AbortSignal): Promise<Detail[]> {
    const found = (await this.all([id], signal)).get(id);
    if (!found) throw new Error("The attributes of this span could not be read.");
    return found;
  }

  /** Of several spans, by their ids, without those that could not be read; one request has those that are not known. */
  async all(ids: string[], signal: AbortSignal): Promise<Map<string, Detail[]>> {
    const found = new Map<string, Detail[]>();
    const missing: string[] = [];
    for (const id of new Set(ids)) {
      const known = this.kept.get(id);
      if (known) found.set(id, known);
      else missing.push(id);
    }
    for (let at = 0; at < missing.length; at += AT_ONCE) {
      const asked = missing.slice(at, at + AT_ONCE);
      const { details, message } = await this.load(asked, signal);
      for (const id of asked) found.set(id, []);
      for (const detail of details) found.get(detail.span.spanId)?.push(detail);
      if (message === "") continue;
      for (const id of asked) if (found.get(id)?.length === 0) found.delete(id);
    }
    for (const [id, details] of found) this.keep(id, details);
    return found;
  }

  private keep(id: string, details: Detail[]) {
    this.kept.delete(id);
    this.kept.set(id, details);
    const oldest = this.kept.keys().next().value;
    if (this.kept.size > KEPT && oldest !== undefined) this.kept.delete(oldest);
  }
}

/** Longer lists and maps have a line for each of their values. */
const ONE_LINE = 60;

/** A value as text: lists and maps as JSON. */
export function valueText(value: AnyValue | undefined): string {
  const plain = plainValue(value);
  if (typeof plain !== "object") return String(plain);
  const line = JSON.stringify(plain);
  return line.length <= ONE_LINE ? line : JSON.stringify(plain, null, 1);
}

/** A value as JSON would have it; a number that JavaScript would change stays text. */
function plainValue(value: AnyValue | undefined): unknown {
  if (value === undefined) return "";
  if (value.stringValue !== undefined) return value.stringValue;
  if (value.boolValue !== undefined) return value.boolValue;
  if (value.intValue !== undefined) {
    const number = Number(value.intValue);
    return Number.isSafeInteger(number) ? number : String(value.intValue);
  }
  if (value.doubleValue !== undefined) {
    const number = Number(value.doubleValue);
    return Number.isFinite(number) ? number : String(value.doubleValue);
  }
  if (value.bytesValue !== undefined) return value.bytesValue;
  if (value.arrayValue) return (value.arrayValue.values ?? []).map(plainValue);
  if (value.kvlistValue) {
    return Object.fromEntries(
      (value.kvlistValue.values ?? []).map((pair) => [pair.key, plainValue(pair.value)]),
    );
  }
  return "";
}
