import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, reason } from "../api";
import { QueryField } from "../editor/field";
import { ErrorMessage } from "../error-message";
import { counted, dated, duration, integer, millisOf } from "../format";
import { shortcuts } from "../keys";
import { type Loaded, useLoaded } from "../loaded";
import { named, visible } from "../names";
import { NotWhole } from "../partial";
import type { Range } from "../range";
import { address, params } from "../router";
import { seen } from "../seen";
import { Text } from "../text";
import type { Typical } from "./against";
import { Actions } from "./buttons";
import { Caveats } from "./caveats";
import { CORRECTED, corrected, type Moved } from "./clocks";
import { Computation } from "./compute";
import { Details } from "./details";
import { DetailsView } from "./details-view";
import type { Finding } from "./finding";
import { FindingLine } from "./finding-line";
import { FlameGraph } from "./flame";
import { TraceMap } from "./map";
import { useMatches } from "./matches";
import { Minimap } from "./minimap";
import { type Found, type Model, modelOf } from "./model";
import { spansOf } from "./opening";
import { NO_ROWS, step } from "./rows";
import { decode, extent, nameOf, type Skeleton, serviceOf } from "./skeleton";
import { type Source, StoredTrace } from "./source";
import { TraceState, VIEWS, type View } from "./state";
import { OperationTable } from "./table";
import { typical } from "./typical";
import { AgainstTypical } from "./typical-view";
import { Waterfall } from "./waterfall";

export function TracePage({ id }: { id: string }) {
  const source = useMemo(() => new StoredTrace(id), [id]);
  const state = useSignal<TraceState | null>(null);
  const problem = useSignal<string | null>(null);
  const isUnknown = useSignal(false);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    problem.value = null;
    document.title = `Trace ${id} – Tactus`;
    const stop = new AbortController();
    (async () => {
      try {
        const columns = await spansOf(id, stop.signal);
        if (stop.signal.aborted) return;
        state.value = new TraceState(modelOf(decode(columns)));
        document.title = `${visible(titleOf(state.value.model.trace, id))} – Tactus`;
      } catch (error) {
        if (stop.signal.aborted) return;
        isUnknown.value = error instanceof ApiError && error.status === 404;
        problem.value = isUnknown.value ? "No trace with this id is stored." : reason(error);
      }
    })();
    return () => stop.abort();
  }, [id, tries, state, problem, isUnknown]);
  if (problem.value !== null) {
    return (
      <main>
        <h1>Trace {id}</h1>
        <ErrorMessage text={problem.value} />
        {isUnknown.value && (
          <p>
            It may not have arrived yet, have been left out by sampling, or be older than what is kept.
            Another tenant may have it.
          </p>
        )}
        <p class="links">
          <button type="button" onClick={() => setTries(tries + 1)}>
            Try again
          </button>
          <a href={address("search")}>Search for traces</a>
        </p>
      </main>
    );
  }
  if (state.value === null) {
    return (
      <main>
        <h1>Trace {id}</h1>
        <p role="status">reading…</p>
      </main>
    );
  }
  return <Opened id={id} state={state.value} source={source} />;
}

interface OpenedProps {
  id: string;
  state: TraceState;
  source: Source;
  /** Further buttons. */
  actions?: ComponentChildren;
}

/** A trace with all of its views, wherever it comes from; its times as they were sent, or with clocks put right. */
export function Opened(props: OpenedProps) {
  const { trace } = props.state.model;
  const wants = params.value.get("clocks") === CORRECTED;
  const right = useMemo(() => (wants ? corrected(trace) : null), [wants, trace]);
  const state = useMemo(
    () => (right && right.moved.spans > 0 ? new TraceState(modelOf(right.trace)) : props.state),
    [right, props.state],
  );
  const clocks = right?.moved ?? null;
  return <Shown key={String(state === props.state)} {...props} state={state} clocks={clocks} />;
}

/** Of traces with more spans only the view itself asks what is typical: those alike are as large. */
const LARGE = 20_000;

function Shown({ id, state, source, actions, clocks }: OpenedProps & { clocks: Moved | null }) {
  const { model } = state;
  const { trace } = model;
  const found = useSignal<Found>(null);
  const details = useMemo(() => new Details((ids, signal) => source.details(ids, signal)), [source]);
  const focusFind = useRef<() => void>(() => {});
  const takeFocus = useCallback((focus: () => void) => {
    focusFind.current = focus;
  }, []);
  const times = found.value;

  useEffect(() => state.follow(), [state]);
  const computation = useRef<Computation | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    computation.current = new Computation(model, stop.signal);
    computation.current.found.then(
      (result) => {
        found.value = result;
      },
      (error) => {
        if (!stop.signal.aborted) console.error("the critical path is not known:", reason(error));
      },
    );
    return () => stop.abort();
  }, [model, found]);

  const isBeside = state.view.value === "typical";
  const usual = useUsual(trace, isBeside, times !== null && source.isStored && trace.count <= LARGE);
  const [beside, setBeside] = useState<Finding | null>(null);
  useEffect(() => {
    let isWanted = true;
    if (times && usual.value && computation.current) {
      computation.current.ask({ kind: "beside", typical: usual.value }).then(
        (finding) => isWanted && setBeside(finding),
        // The page is left.
        () => {},
      );
    }
    return () => {
      isWanted = false;
    };
  }, [times, usual.value]);
  const text = state.find.value;
  const [tries, setTries] = useState(0);
  const { rows: matches, problem, message, isKnown } = useMatches(source, trace, text, tries);
  const wrong = useMemo(() => (problem === null ? null : { message: problem }), [problem]);
  const range = useMemo(() => rangeOfTrace(trace, model.extent), [trace, model]);
  const place = matches.indexOf(state.row.value);
  const goTo = (forward: boolean) => {
    const row = step(matches, state.row.value, forward);
    if (row >= 0) state.select(row);
  };
  const findings = useMemo(
    () => (times ? [...(beside ? [beside] : []), ...times.findings] : []),
    [times, beside],
  );
  const { errors, waited } = times ?? { errors: NO_ROWS, waited: NO_ROWS };

  // Before the next event, so that a key acts on what is shown.
  useLayoutEffect(() => {
    const go = (rows: Int32Array, forward: boolean) => {
      const row = step(rows, state.row.value, forward);
      if (row < 0) return;
      state.select(row);
      // Arrow keys go on from there.
      document.querySelector<HTMLElement>("[role=treegrid]")?.focus({ preventScroll: true });
    };
    return shortcuts({
      "/": () => focusFind.current(),
      n: () => go(matches, true),
      N: () => go(matches, false),
      e: () => go(errors, true),
      E: () => go(errors, false),
      c: () => go(waited, true),
      f: () => state.fit(state.row.value),
      "0": () => state.show({ from: 0, to: model.extent }),
      w: () => state.zoom(0.5),
      s: () => state.zoom(2),
      a: () => state.pan(-0.25),
      d: () => state.pan(0.25),
      Escape: () => state.select(-1),
      v: () => {
        state.view.value = VIEWS[(VIEWS.indexOf(state.view.value) + 1) % VIEWS.length];
      },
    });
  }, [state, model, matches, errors, waited]);

  return (
    <main class="trace">
      <Head id={id} model={model} />
      {(findings.length > 0 || times === null) && (
        <ul class="findings" aria-label="Why it took so long">
          {findings.map((finding) => (
            <FindingLine key={finding.text} finding={finding} trace={trace} details={details} state={state} />
          ))}
        </ul>
      )}
      <Caveats model={model} notes={source.notes} clocks={clocks} />
      <div class="tools">
        <QueryField
          id="find"
          value={text}
          set={(text) => (state.find.value = text)}
          range={range}
          label="Find spans"
          placeholder="find text or { TraceQL }"
          problem={wrong}
          focus={takeFocus}
          run={() => (problem === null ? goTo(true) : setTries(tries + 1))}
          runBack={() => goTo(false)}
        />
        {problem !== null && (
          <span id="find-problem" class="error" role="alert">
            ✕ {problem}
          </span>
        )}
        {text.trim() !== "" && problem === null && (
          <>
            <span role="status">
              {isKnown ? (
                <>
                  {place >= 0 && `${integer(place + 1)} of `}
                  {integer(matches.length)} {matches.length === 1 ? "match" : "matches"}
                </>
              ) : (
                "searching…"
              )}
            </span>
            <label>
              <input
                type="checkbox"
                checked={state.onlyMatches.value}
                onChange={(event) => (state.onlyMatches.value = event.currentTarget.checked)}
              />{" "}
              hide others
            </label>
          </>
        )}
        <span class="space" />
        <fieldset class="choice" aria-label="View">
          {VIEWS.map((view) => (
            <button
              key={view}
              type="button"
              aria-pressed={state.view.value === view}
              onClick={() => (state.view.value = view)}
            >
              {TITLES[view]}
            </button>
          ))}
        </fieldset>
        <Actions id={id} trace={trace} source={source} />
        {actions}
      </div>
      {/* Of a trace that is not whole the page says so above. */}
      {!trace.partial && <NotWhole messages={[message]} />}
      {state.view.value === "waterfall" && <Minimap model={model} state={state} />}
      <div class="split">
        <div class="view">
          {state.view.value === "waterfall" && (
            <Waterfall model={model} found={times} state={state} matches={matches} details={details} />
          )}
          {state.view.value === "flame" && times && computation.current && (
            <FlameGraph computation={computation.current} state={state} />
          )}
          {state.view.value === "map" && <TraceMap trace={trace} source={source} />}
          {state.view.value === "table" && times && (
            <OperationTable model={model} times={times} state={state} />
          )}
          {state.view.value === "typical" && times && computation.current && (
            <AgainstTypical
              model={model}
              computation={computation.current}
              state={state}
              isStored={source.isStored}
              usual={usual}
            />
          )}
        </div>
        {state.row.value >= 0 && (
          <DetailsView model={model} found={times} state={state} details={details} source={source} />
        )}
      </div>
    </main>
  );
}

const TITLES: Record<View, string> = {
  waterfall: "Waterfall",
  flame: "Flame graph",
  table: "Table",
  map: "Map",
  typical: "Against typical",
};

/** So many milliseconds after the trace is there, what is typical is asked for. */
const USUAL_AFTER = 500;

/**
 * What is typical of traces that began as this one. If it is only for the verdict, `isBeside` is false: few traces are looked
 * at, after all else, while somebody sees the page, and only if that is `worthIt`.
 */
function useUsual(trace: Skeleton, isBeside: boolean, worthIt: boolean): Loaded<Typical> {
  const [wants, setWants] = useState<"nothing" | "few" | "many">("nothing");
  const isSeen = seen.value;
  useEffect(() => {
    if (isBeside) return setWants("many");
    if (!worthIt || !isSeen) return;
    const ask = () => setWants((wants) => (wants === "nothing" ? "few" : wants));
    const timer = setTimeout(ask, USUAL_AFTER);
    return () => clearTimeout(timer);
  }, [isBeside, worthIt, isSeen]);
  const key = wants === "nothing" || trace.count === 0 ? null : `${wants} ${trace.traceId}`;
  const usual = useLoaded(key, (signal) => typical(trace, signal, wants === "few"));
  // Nobody asked for it, so nobody is told why it is not there.
  return isBeside ? usual : { ...usual, problem: null };
}

/** Seconds in which all spans of a trace lie. */
function rangeOfTrace({ begin }: Skeleton, extent: number): Range {
  const from = Number(begin / 1_000_000_000n);
  return { from, to: from + Math.ceil(extent / 1e9) + 1 };
}

/** What a trace is called: its first span, else its id. */
function titleOf(trace: Skeleton, id: string): string {
  return trace.count > 0 ? `${named(serviceOf(trace, 0), "")} ${named(nameOf(trace, 0))}`.trim() : id;
}

function Head({ id, model }: { id: string; model: Model }) {
  const { trace, errors } = model;
  return (
    <div class="trace-head">
      <h1>
        <Text value={titleOf(trace, id)} />
      </h1>
      <span>
        {duration(extent(trace))} · {counted(trace.count, "span")} ·{" "}
        {counted(trace.services.length, "service")}
        {errors > 0 && (
          <span class="error">
            {" "}
            · ✕ {integer(errors)} {errors === 1 ? "error" : "errors"}
          </span>
        )}
      </span>
      <span class="muted">{dated(millisOf(trace.begin))}</span>
      <span class="mono muted">{id}</span>
    </div>
  );
}
