import { useEffect, useRef, useState } from "preact/hooks";
import { reason } from "../api";
import { duration, integer, millisOf, moment } from "../format";
import { Heads } from "../heads";
import { shortcuts } from "../keys";
import { rangeOf } from "../range";
import { address, padded, params, setParams } from "../router";
import { Scroll } from "../scroll";
import { useCheck } from "../search/check";
import { QueryBar } from "../search/query-bar";
import { Chip } from "../search/results";
import { seen } from "../seen";
import { Label, Text } from "../text";
import { add, EMPTY, type Feed, follow, type LiveSpan, MOST_ROWS, rates, resume, waitAfter } from "./feed";

const KINDS = ["", "internal", "server", "client", "producer", "consumer"];

/** A live tail has no range; a check asks for one. */
const OPENED = Math.floor(Date.now() / 1000);
const RANGE = { from: OPENED - 60, to: OPENED };

/** Spans as they are pushed. */
export function LivePage() {
  const q = params.value.get("q") ?? "{ }";
  const [text, setText] = useState(q);
  const [run, setRun] = useState(0);
  const [isPaused, setPaused] = useState(false);
  const { feed, said, setFeed } = useFeed(q, run, isPaused);
  const { problem: wrongQuery } = useCheck(text, "filter", RANGE);
  const pause = () => {
    if (isPaused) setFeed(resume);
    setPaused(!isPaused);
  };
  const toggle = useRef(pause);
  toggle.current = pause;
  useEffect(() => {
    document.title = "Live tail – Tactus";
    return shortcuts({ p: () => toggle.current() });
  }, []);
  useEffect(() => setText(q), [q]);
  // The field says it already, and where.
  const isToldAbove = wrongQuery !== null && text.trim() === q.trim();
  return (
    <main>
      <h1 class="hidden">Live tail</h1>
      <QueryBar
        value={text}
        set={setText}
        range={rangeOf(params.value)}
        label="TraceQL filter of spans"
        placeholder="{ status = error } | select(span.http.route)"
        problem={wrongQuery}
        run={() => {
          const query = text.trim() || "{ }";
          if (query === q) setRun(run + 1);
          else setParams({ q: query }, false);
        }}
        after={
          <button type="button" onClick={pause} aria-pressed={isPaused}>
            {isPaused ? "Resume" : "Pause"}
          </button>
        }
      />
      {said !== null && !isToldAbove && (
        <p class="error" role="alert">
          ✕ {said}{" "}
          <button type="button" class="link" onClick={() => setRun(run + 1)}>
            follow again
          </button>
        </p>
      )}
      <Strip feed={feed} isPaused={isPaused} isOpen={said === null} />
      {feed.rows.length > 0 && <Rows rows={feed.rows} />}
      {feed.rows.length === 0 && said === null && feed.counts && (
        <p class="hint">Matching spans appear here as they arrive. Earlier spans are not shown.</p>
      )}
    </main>
  );
}

/** Follows a filter while the page is seen. `run`: another number begins anew. */
function useFeed(q: string, run: number, isPaused: boolean) {
  const [feed, setFeed] = useState<Feed>(EMPTY);
  const [said, setSaid] = useState<string | null>(null);
  const isSeen = seen.value;
  const paused = useRef(isPaused);
  paused.current = isPaused;
  useEffect(() => setFeed(EMPTY), [q, run]);
  useEffect(() => {
    if (!isSeen) return;
    const stop = new AbortController();
    setSaid(null);
    let attempts = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const begin = async () => {
      setFeed((feed) => ({ ...feed, counts: null, history: [] }));
      try {
        const updates = follow(q, stop.signal);
        for (;;) {
          const next = await updates.next();
          if (next.done) return setSaid(`The live tail ended: ${next.value}.`);
          attempts = 0;
          setSaid(null);
          setFeed((feed) => add(feed, next.value, paused.current, Date.now()));
        }
      } catch (failure) {
        if (stop.signal.aborted) return;
        const wait = waitAfter(failure, attempts);
        attempts += 1;
        setSaid(
          `${reason(failure)}${wait === null ? "" : "; it is tried again, and spans of the time between are not shown"}`,
        );
        if (wait !== null) timer = setTimeout(begin, wait);
      }
    };
    begin();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [q, run, isSeen]);
  return { feed, said, setFeed };
}

/** What matched, what of it is shown, and what is not. */
function Strip({ feed, isPaused, isOpen }: { feed: Feed; isPaused: boolean; isOpen: boolean }) {
  const { counts, held, lost } = feed;
  if (!counts) return isOpen ? <p role="status">connecting…</p> : null;
  const a = rates(feed);
  const missing = counts.ingestersExpected - counts.ingesters;
  return (
    <>
      <p class="live-counts">
        <span class={isOpen && !isPaused ? undefined : "muted"}>
          ● {isPaused ? "paused" : isOpen ? "live" : "ended"}
        </span>{" "}
        · {integer(counts.matched)} matched ({perSecond(a.matched)}) · {integer(counts.shown)} shown (
        {perSecond(a.shown)}) · {integer(counts.dropped)} left out
        {isPaused && ` · ${integer(held.length + lost)} arrived since`}
      </p>
      {counts.dropped > 0 && (
        <p class="strip">
          ! {integer(counts.dropped)} spans that match were left out: more arrived than a live tail shows per
          second. A narrower filter shows all.
        </p>
      )}
      {counts.skipped > 0 && (
        <p class="strip">
          ! Up to {integer(counts.skipped)} spans were not looked at, because they arrived too fast.
        </p>
      )}
      {missing > 0 && (
        <p class="strip">
          ! {integer(missing)} of {integer(counts.ingestersExpected)} ingesters do not answer: spans may be
          missing.
        </p>
      )}
      {lost > 0 && (
        <p class="strip">
          ! {integer(lost)} spans came while this page stood still and are no longer kept: it keeps{" "}
          {integer(MOST_ROWS)}.
        </p>
      )}
    </>
  );
}

function perSecond(rate: number): string {
  return `${rate > 0 && rate < 10 ? rate.toFixed(1) : integer(Math.round(rate))}/s`;
}

function Rows({ rows }: { rows: LiveSpan[] }) {
  return (
    <Scroll>
      <table class="results live">
        <Heads columns={["Start", "Span", "Kind", { number: "Duration" }, "Status", "Attributes"]} />
        <tbody>
          {rows.map((span) => (
            <Row key={`${span.traceId}${span.spanId}${span.start}`} span={span} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Row({ span }: { span: LiveSpan }) {
  return (
    <tr>
      <td class="nowrap">{moment(millisOf(span.start))}</td>
      <td>
        <a href={address(`trace/${padded(span.traceId)}`, { span: span.spanId })}>
          <Chip name={span.service} /> <Label value={span.name} />
        </a>
      </td>
      <td>{KINDS[span.kind] ?? ""}</td>
      <td class="number nowrap">{duration(Number(span.duration))}</td>
      <td class={span.status === 2 ? "error" : ""}>
        {span.status === 2 && "✕ error "}
        {span.status === 1 && "ok "}
        <Text value={span.message} />
      </td>
      <td>
        {span.attributes.map(([key, value]) => (
          <span key={key} class="pair">
            <Text value={`${key}=${value}`} />{" "}
          </span>
        ))}
      </td>
    </tr>
  );
}
