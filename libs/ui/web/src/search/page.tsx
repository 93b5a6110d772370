import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { config, reason } from "../api";
import { ErrorMessage } from "../error-message";
import { bytes, integer } from "../format";
import { NotWhole } from "../partial";
import { type Range, rangeOf, tooLong } from "../range";
import { fixed, rangeParams } from "../range-select";
import { address, navigate, params, setParams } from "../router";
import { Label } from "../text";
import { baselineOf } from "./baseline";
import { Charts } from "./charts";
import { useCheck } from "./check";
import { columnsOf, withColumns } from "./columns";
import { Cost } from "./cost";
import { Differences } from "./differences";
import { QueryForm } from "./form-view";
import { Plan } from "./plan";
import { type Found, search, traceId } from "./query";
import { QueryBar } from "./query-bar";
import { recent, remember } from "./recent";
import { Results } from "./results";
import { filterOf, isMetrics } from "./stage";

/** Said of a query that finds more than the spans of one filter. */
const ONE_FILTER = "What differs works for queries of one filter { … } alone";

/** A query that was run: with a range that does not move while it is looked at. */
interface Run {
  q: string;
  range: Range;
  limit: number;
  columns: string[];
  at: number;
}

export function SearchPage() {
  const q = params.value.get("q") ?? "";
  const text = useSignal(q);
  const columnsText = useSignal(params.value.get("columns") ?? "");
  const run = useSignal<Run | null>(null);
  const found = useSignal<Found | null>(null);
  const error = useSignal<string | null>(null);
  // Of the address, what another search follows from.
  const asked = ["q", "range", "from", "to", "limit", "columns"]
    .map((name) => params.value.get(name))
    .join("\n");
  const differs = params.value.get("differs") === "1";
  const columns = columnsOf(params.value.get("columns") ?? "");
  const limits = config.value?.limits;
  const longest = limits?.searchSeconds ?? 0;
  const most = limits?.traces || Number.POSITIVE_INFINITY;
  const given = Number(params.value.get("limit"));
  const wanted = Number.isInteger(given) && given > 0 ? given : (limits?.defaultTraces ?? 0) || 20;
  const limit = Math.min(most, wanted);

  useEffect(() => {
    document.title = "Search – Tactus";
  }, []);

  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  // The search begins here, not when the page has been drawn anew: somebody waits for its first result.
  const start = (next: Run | null) => {
    running.current?.abort();
    const stop = new AbortController();
    running.current = stop;
    const wrong = next && tooLong(next.range, longest, "A search");
    found.value = null;
    error.value = wrong;
    run.value = next;
    if (next && !wrong) void follow(next, stop.signal);
  };
  const follow = async (next: Run, signal: AbortSignal) => {
    try {
      const q = withColumns(next.q, next.columns);
      for await (const part of search(q, next.range, next.limit, signal)) {
        if (signal.aborted) return;
        found.value = part;
      }
      remember(next.q);
    } catch (failure) {
      if (!signal.aborted) error.value = reason(failure);
    }
  };
  // The address is what is run: forwards, backwards and links all end here.
  const before = useRef<string | null>(null);
  useLayoutEffect(() => {
    // What is being written stays there while only the range or the columns change.
    if (before.current !== q) text.value = q;
    before.current = q;
    columnsText.value = params.value.get("columns") ?? "";
    start(q === "" ? null : { q, range: rangeOf(params.value, longest), limit, columns, at: Date.now() });
  }, [asked]);

  const current = run.value;
  const typed = text.value;
  const range = useMemo(() => current?.range ?? rangeOf(params.value, longest), [current, asked]);
  const { problem, cost } = useCheck(typed, "search", range);
  /** Puts the columns into the address; false if they are there. */
  const show = (text: string) => {
    const columns = text.trim() || null;
    if (columns === params.value.get("columns")) return false;
    setParams({ columns }, false);
    return true;
  };
  const submit = () => {
    const id = traceId(text.value);
    if (id) return navigate(address(`trace/${id.trace}`, { span: id.span }));
    const query = text.value.trim() || "{ }";
    if (query === q) start({ q, range: rangeOf(params.value, longest), limit, columns, at: Date.now() });
    else setParams({ q: query }, false);
  };

  const queries = useMemo(recent, [current]);
  const filter = filterOf(current?.q ?? "");
  const baseline = baselineOf(filter ?? "");
  // The field says it already, and where.
  const isToldAbove = problem !== null && error.value !== null && typed.trim() === current?.q.trim();
  return (
    <main>
      <h1 class="hidden">Search for traces</h1>
      <QueryBar
        value={typed}
        set={(query) => (text.value = query)}
        range={range}
        label="TraceQL query or trace id"
        placeholder='{ resource.service.name = "shop" && duration > 1s } or a trace id'
        problem={problem}
        recent={queries}
        limit={longest}
        run={submit}
      >
        <label class="hidden" for="limit">
          Traces at most
        </label>
        <select
          id="limit"
          value={`${limit}`}
          onChange={(event) => setParams({ limit: event.currentTarget.value })}
        >
          {[...new Set([20, 50, 100, 200, 500, limit].map((count) => Math.min(most, count)))]
            .sort((a, b) => a - b)
            .map((count) => (
              <option key={count} value={`${count}`}>
                {count} traces
              </option>
            ))}
        </select>
        <label class="hidden" for="columns">
          Attributes to show, with commas between them
        </label>
        <input
          id="columns"
          class="mono"
          value={columnsText.value}
          onInput={(event) => (columnsText.value = event.currentTarget.value)}
          placeholder="columns: span.http.route"
          spellcheck={false}
          autocomplete="off"
          onChange={(event) => show(event.currentTarget.value)}
          // The changed address runs the query, so the form must not do it as well.
          onKeyDown={(event) =>
            event.key === "Enter" && show(event.currentTarget.value) && event.preventDefault()
          }
        />
      </QueryBar>
      <Cost cost={cost} />
      <QueryForm query={typed} range={range} write={(query) => (text.value = query)} />
      {current && isMetrics(current.q) && (
        <p class="strip">
          ! This query is for metrics, and its traces are those of its filter.{" "}
          <a href={address("explore", { q: current.q, ...rangeParams() })}>Show its values</a>
        </p>
      )}
      {current && error.value === null && !isMetrics(current.q) && (
        <Charts
          q={current.q}
          range={current.range}
          waits={!found.value?.done && !found.value?.traces.length}
          above={found.value?.message}
          zoom={(range) => setParams(fixed(range), false)}
        />
      )}
      {current && !isToldAbove && <Status found={found.value} error={error.value} limit={current.limit} />}
      {current && error.value === null && (
        <Plan q={withColumns(current.q, current.columns)} range={current.range} limit={current.limit} />
      )}
      {current && found.value?.done && found.value.traces.length > 0 && (
        <p>
          <button
            type="button"
            aria-pressed={differs}
            disabled={filter === null && !differs}
            title={filter === null ? ONE_FILTER : undefined}
            onClick={() => setParams({ differs: differs ? null : "1" })}
          >
            What differs
          </button>
        </p>
      )}
      {current &&
        differs &&
        found.value?.done &&
        found.value.traces.length > 0 &&
        (filter === null ? (
          <p class="hint">{ONE_FILTER}.</p>
        ) : (
          <Differences
            all={baseline}
            selection={filter}
            range={current.range}
            where={baseline === "{ }" ? undefined : baseline}
          />
        ))}
      {current && found.value && <Results found={found.value} q={current.q} columns={current.columns} />}
      {!current && <Start recent={queries} />}
    </main>
  );
}

/** What to begin with, and what each finds. */
const EXAMPLES = [
  ["{ }", "every trace"],
  ["{ status = error }", "traces with a span that failed"],
  ["{ duration > 1s }", "traces with a span that lasted longer than a second"],
  ["{ kind = server } >> { status = error }", "failures below a span of a server"],
] as const;
const RECENT_SHOWN = 5;

/** The page before any query. */
function Start({ recent }: { recent: string[] }) {
  const range = rangeParams();
  const lead = (q: string) => (
    <a class="mono" href={address("search", { q, ...range })}>
      <Label value={q} />
    </a>
  );
  return (
    <div class="start">
      <p>
        Write a TraceQL query, fill in the form, or paste a trace id. Or{" "}
        <a href={address("file")}>open a file with traces</a>.
      </p>
      {recent.length > 0 && (
        <section aria-labelledby="recent">
          <h2 id="recent">Recent queries</h2>
          <ul>
            {recent.slice(0, RECENT_SHOWN).map((q) => (
              <li key={q}>{lead(q)}</li>
            ))}
          </ul>
        </section>
      )}
      <section aria-labelledby="examples">
        <h2 id="examples">Examples</h2>
        <ul>
          {EXAMPLES.map(([q, finds]) => (
            <li key={q}>
              {lead(q)} <span class="muted">{finds}</span>
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}

function Status({ found, error, limit }: { found: Found | null; error: string | null; limit: number }) {
  if (error !== null) return <ErrorMessage text={error} />;
  if (!found) return <p role="status">searching…</p>;
  const { traces, metrics, done } = found;
  const { totalJobs = 0, completedJobs = 0 } = metrics;
  const share = totalJobs > 0 ? ` ${Math.round((completedJobs / totalJobs) * 100)} %` : "";
  const isCut = done && traces.length >= limit;
  return (
    <>
      <p role="status">
        {integer(traces.length)} {traces.length === 1 ? "trace" : "traces"}
        {isCut && ", the limit: there may be more"} · {bytes(Number(metrics.inspectedBytes ?? 0))} read
        {!done && (
          <span class="streaming">
            {" "}
            · <span aria-hidden="true">●</span> streaming{share}
          </span>
        )}
      </p>
      <NotWhole messages={[found.message]} />
    </>
  );
}
