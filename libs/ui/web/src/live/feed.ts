import { ApiError, request } from "../api";
import { serverEvents } from "../events";

/** A span as it was pushed. Times in nanoseconds. */
export interface LiveSpan {
  traceId: string;
  spanId: string;
  start: string;
  duration: string;
  service: string;
  name: string;
  kind: number;
  status: number;
  message: string;
  attributes: [string, string][];
}

/** How much there was since the tail began. */
export interface Counts {
  matched: number;
  shown: number;
  dropped: number;
  skipped: number;
  ingesters: number;
  ingestersExpected: number;
}

type Update = Counts & { spans: LiveSpan[] };

/** What is on the page: the newest first. */
export interface Feed {
  rows: LiveSpan[];
  /** Spans that came while the page stood still, the newest first. */
  held: LiveSpan[];
  /** Spans that no longer fit into `held`. */
  lost: number;
  counts: Counts | null;
  /** When there were how many, of the last seconds: for rates. */
  history: { at: number; matched: number; shown: number }[];
}

export const EMPTY: Feed = { rows: [], held: [], lost: 0, counts: null, history: [] };

/** Spans that the page keeps. */
export const MOST_ROWS = 1_000;

/** Rates are of so many milliseconds. */
const RATE_OVER = 5000;

/** Takes an update in. A page that stands still keeps what came for later. */
export function add(feed: Feed, { spans, ...counts }: Update, isPaused: boolean, now: number): Feed {
  const came = [...spans].reverse();
  const history = [...feed.history, { at: now, matched: counts.matched, shown: counts.shown }];
  while (history.length > 2 && history[1].at <= now - RATE_OVER) history.shift();
  if (!isPaused) return { ...feed, rows: [...came, ...feed.rows].slice(0, MOST_ROWS), counts, history };
  const all = [...came, ...feed.held];
  const held = all.slice(0, MOST_ROWS);
  return { ...feed, held, lost: feed.lost + all.length - held.length, counts, history };
}

/** Shows what came while the page stood still. */
export function resume(feed: Feed): Feed {
  return { ...feed, rows: [...feed.held, ...feed.rows].slice(0, MOST_ROWS), held: [], lost: 0 };
}

/** Spans a second, of the last while. */
export function rates({ history }: Feed): { matched: number; shown: number } {
  const first = history[0];
  const last = history[history.length - 1];
  const seconds = first && last ? (last.at - first.at) / 1000 : 0;
  if (seconds <= 0) return { matched: 0, shown: 0 };
  return { matched: (last.matched - first.matched) / seconds, shown: (last.shown - first.shown) / seconds };
}

/** Milliseconds until a tail that broke off is followed again: the last one as often as it takes. */
const WAITS = [1_000, 2_000, 5_000, 10_000, 30_000];

/** The connection broke off, or the server stops: another one may go on. */
export class BrokenOff extends Error {}

/** How long to wait before the next attempt, of which there were so many in vain; null: it would fail as well. */
export function waitAfter(failure: unknown, attempts: number): number | null {
  const isPassing =
    failure instanceof BrokenOff ||
    (failure instanceof ApiError && [0, 502, 503, 504].includes(failure.status));
  return isPassing ? WAITS[Math.min(attempts, WAITS.length - 1)] : null;
}

/** Follows a filter until the server ends it; returns why it did. */
export async function* follow(q: string, signal: AbortSignal): AsyncGenerator<Update, string> {
  const response = await request(`tail?${new URLSearchParams({ q })}`, "text/event-stream", signal);
  if (!response.body) throw new Error("the server answered nothing");
  for await (const { name, data } of serverEvents(response.body)) {
    const said = JSON.parse(data) as Update & { message?: string; again?: boolean };
    if (name === "failed") throw new Error(said.message || "the live tail failed");
    if (name === "ended" && said.again) throw new BrokenOff(said.message);
    if (name === "ended") return said.message ?? "";
    yield said;
  }
  throw new BrokenOff("the connection broke off");
}
