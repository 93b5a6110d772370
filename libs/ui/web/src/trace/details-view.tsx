import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { config, reason } from "../api";
import { ErrorMessage } from "../error-message";
import { counted, dated, duration, millisOf } from "../format";
import { named } from "../names";
import { around } from "../range";
import { fixed } from "../range-select";
import { address } from "../router";
import { quote } from "../search/form";
import { Chip } from "../search/results";
import { Label, Text } from "../text";
import { Attributes, Dropped, Links, ShowAll } from "./attributes";
import type { Detail, Details, Span } from "./details";
import { Events } from "./events-view";
import { LinkedText } from "./linked";
import type { LinkValues } from "./links";
import type { Found, Model } from "./model";
import { hasEnd, isError, kind, lasts, nameOf, rowOf, type Skeleton, serviceOf, spanId } from "./skeleton";
import type { Source } from "./source";
import type { TraceState } from "./state";

interface Props {
  model: Model;
  found: Found;
  state: TraceState;
  details: Details;
  source: Source;
}

/** All of the selected span. */
export function DetailsView({ model, found, state, details, source }: Props) {
  const { trace, shape } = model;
  const row = state.row.value;
  const shown = useSignal<{ row: number; all: Detail[] } | null>(null);
  const problem = useSignal<string | null>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    problem.value = null;
    const stop = new AbortController();
    details.get(spanId(trace, row), stop.signal).then(
      (all) => {
        shown.value = { row, all };
      },
      (error) => {
        if (!stop.signal.aborted) problem.value = reason(error);
      },
    );
    return () => stop.abort();
  }, [row, trace, details, shown, problem, tries]);
  const element = useRef<HTMLElement>(null);
  // Whoever closes them with a key goes on among the spans.
  useLayoutEffect(
    () => () => {
      if (!element.current?.contains(document.activeElement)) return;
      document.querySelector<HTMLElement>("[role=treegrid]")?.focus({ preventScroll: true });
    },
    [],
  );
  const all = shown.value?.row === row ? shown.value.all : null;
  const service = serviceOf(trace, row);
  const parent = trace.parent[row];
  const name = nameOf(trace, row);
  const above = all?.[0]?.span.parentSpanId ?? "";
  return (
    <aside ref={element} class="details" aria-label="Selected span">
      <div class="tools">
        <h2>
          <Chip name={service} /> <Label value={name} />
        </h2>
        <span class="space" />
        <button type="button" onClick={() => state.select(-1)} aria-label="Close the details">
          ✕
        </button>
      </div>
      <dl>
        {named(name) !== name && name !== "" && (
          <>
            <dt>name</dt>
            <dd>
              <Text value={name} />
            </dd>
          </>
        )}
        <dt>service</dt>
        <dd>
          <Text value={service || "unknown"} />
        </dd>
        <dt>kind</dt>
        <dd>{kind(trace, row)}</dd>
        <dt>status</dt>
        <dd class={isError(trace, row) ? "error" : undefined}>
          {["unset", "ok", "✕ error"][trace.flags[row] >> 3] ?? "unset"}
          {all?.[0]?.span.status?.message && (
            <>
              {": "}
              <LinkedText value={all[0].span.status.message} trace={trace} source={source} />
            </>
          )}
        </dd>
        <dt>starts</dt>
        <dd>
          {trace.start[row] > 0 ? `${duration(trace.start[row])} after the trace began` : "with the trace"},
          at {dated(millisOf(trace.begin + BigInt(Math.round(trace.start[row]))))}
        </dd>
        <dt>lasts</dt>
        <dd>
          {lasts(trace, row)}
          {hasEnd(trace, row) && trace.duration[row] < 0 && (
            <span class="warning"> (it ends before it starts)</span>
          )}
          {found && ` · ${duration(found.self[row])} self time`}
          {found && found.critical[row] > 0 && ` · ${duration(found.critical[row])} on the critical path`}
        </dd>
        <dt>span id</dt>
        <dd class="mono">{spanId(trace, row)}</dd>
        {parent >= 0 && (
          <>
            <dt>parent</dt>
            <dd>
              <button type="button" class="link" onClick={() => state.select(parent)}>
                <Label value={nameOf(trace, parent)} none={spanId(trace, parent)} />
              </button>
            </dd>
          </>
        )}
        {parent < 0 && isId(above) && (
          <>
            <dt>parent</dt>
            <dd>
              <span class="mono">{above}</span>{" "}
              <span class="warning">
                {rowOf(trace, above.toLowerCase()) < 0 ? "is not stored" : "is below this span: a circle"}
              </span>
            </dd>
          </>
        )}
        {shape.size[row] > 1 && (
          <>
            <dt>below it</dt>
            <dd>{counted(shape.size[row] - 1, "span")}</dd>
          </>
        )}
      </dl>
      <ErrorMessage text={problem.value} />
      {problem.value !== null && (
        <button type="button" onClick={() => setTries(tries + 1)}>
          Try again
        </button>
      )}
      {all === null && problem.value === null && <p role="status">reading attributes…</p>}
      {all?.length === 0 && <p class="warning">This span is no longer stored.</p>}
      {all && all.length > 1 && <p class="warning">{all.length} spans have this id; all are shown.</p>}
      {all?.map((detail, at) => (
        <Stored key={`${row}-${at}`} detail={detail} trace={trace} row={row} source={source} />
      ))}
    </aside>
  );
}

/** What links to a span mostly comes after it: so many seconds around the trace are searched. */
const LINKED_BEFORE = 3_600;
const LINKED_AFTER = 86_400;

interface StoredProps {
  detail: Detail;
  trace: Skeleton;
  row: number;
  source: Source;
}

function Stored({ detail, trace, row, source }: StoredProps) {
  const { span, resource, scope } = detail;
  const { begin, traceId } = trace;
  const values: LinkValues = {
    traceId,
    spanId: span.spanId,
    spanName: span.name ?? "",
    service: serviceOf(trace, row),
    start: BigInt(span.startTimeUnixNano ?? "0"),
    end: BigInt(span.endTimeUnixNano ?? "0"),
    resource: resource.attributes ?? [],
    span: span.attributes ?? [],
  };
  const common = { trace, source };
  const at = Number(begin / 1_000_000_000n);
  const scopeName = [scope.name, scope.version].filter(Boolean).join(" ");
  return (
    <>
      <h3>Attributes</h3>
      <Attributes pairs={span.attributes} dropped={span.droppedAttributesCount} scope="span" {...common} />
      <Links place="span" values={values} />
      <Events span={span} values={values} {...common} />
      {((span.links ?? []).length > 0 || !!span.droppedLinksCount) && <h3>Links</h3>}
      <SpanLinks span={span} {...common} />
      <p>
        <a
          href={address("search", {
            q: `{ link:traceID = ${quote(traceId)} && link:spanID = ${quote(span.spanId)} }`,
            ...fixed(around(at, LINKED_BEFORE, LINKED_AFTER, config.value?.limits.searchSeconds ?? 0)),
          })}
        >
          Spans that link to this one
        </a>
      </p>
      <h3>Resource</h3>
      <Attributes
        pairs={resource.attributes}
        dropped={resource.droppedAttributesCount}
        scope="resource"
        {...common}
      />
      <Links place="resource" values={values} />
      {scopeName !== "" && (
        <>
          <h3>Instrumentation</h3>
          <Text value={scopeName} />
          <Attributes
            pairs={scope.attributes}
            dropped={scope.droppedAttributesCount}
            scope="instrumentation"
            {...common}
          />
        </>
      )}
      {span.traceState && (
        <>
          <h3>Trace state</h3>
          <Text value={span.traceState} />
        </>
      )}
    </>
  );
}

/** Links that are there at once. */
const SHOWN = 100;

function SpanLinks({ span, trace, source }: { span: Span; trace: Skeleton; source: Source }) {
  const [all, setAll] = useState(false);
  const links = span.links ?? [];
  const shown = all ? links : links.slice(0, SHOWN);
  return (
    <>
      {shown.map((link, at) => (
        <div key={at}>
          <Link traceId={link.traceId ?? ""} spanId={link.spanId ?? ""} source={source} />
          <Attributes
            pairs={link.attributes}
            dropped={link.droppedAttributesCount}
            scope="link"
            {...{ trace, source }}
          />
        </div>
      ))}
      {shown.length < links.length && <ShowAll count={links.length} what="links" show={() => setAll(true)} />}
      <Dropped count={span.droppedLinksCount} what="link" />
    </>
  );
}

/** Whether a text is the id of a span: nought is none. */
function isId(text: string): boolean {
  return /^[0-9a-f]{16}$/i.test(text) && !/^0+$/.test(text);
}

function Link({ traceId, spanId, source }: { traceId: string; spanId: string; source: Source }) {
  if (!/^[0-9a-f]{1,32}$/i.test(traceId)) return <Text value={`${traceId} ${spanId}`} />;
  return (
    <a class="mono" href={source.address(traceId, { span: spanId.toLowerCase() })}>
      {traceId} {spanId}
    </a>
  );
}
