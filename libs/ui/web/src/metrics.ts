import { answers } from "./events";
import { type Marked, messageOf } from "./partial";
import type { Range } from "./range";

export interface Exemplar {
  traceId: string;
  /** Null where the server does not tell it. */
  spanId: string | null;
  /** Unix milliseconds. */
  millis: number;
  value: number;
}

/** Values in time of one set of labels. */
export interface Series {
  labels: Record<string, string>;
  /** Labels whose value is a text, although it reads as a number or a word of TraceQL. */
  texts?: string[];
  /** Unix milliseconds and values, ascending. */
  points: [number, number][];
  exemplars: Exemplar[];
}

/** One value of one set of labels. */
export interface Value {
  labels: Record<string, string>;
  value: number;
}

interface Label {
  key: string;
  value?: Record<string, unknown>;
}

interface Whole extends Marked {
  metrics?: { totalJobs?: number; completedJobs?: number };
}

/** Series as `SERIES` has them. */
export interface CompactAnswer extends Whole {
  /** Milliseconds. */
  start?: number;
  step?: number;
  series?: {
    labels?: Record<string, string>;
    texts?: string[];
    values?: unknown[];
    exemplars?: [number, number, string, string][];
  }[];
}

interface InstantAnswer extends Whole {
  series?: { labels?: Label[]; value?: number }[];
}

/** Series in few bytes. */
const SERIES = "application/vnd.tactus.series+json";

function labelsOf(labels: Label[] = []): Record<string, string> {
  return Object.fromEntries(
    labels.map(({ key, value }) => [key, String(Object.values(value ?? {})[0] ?? "")]),
  );
}

/** The step with which a range has about so many points: whole seconds. */
export function stepFor(range: Range, points: number): number {
  return Math.max(1, Math.ceil((range.to - range.from) / points));
}

/** How far a query is. */
export interface Progress {
  /** Of its jobs, 0 to 1. */
  share: number;
  /** What the server says of an answer that is not whole; else empty. */
  message: string;
}

type Show<T> = (soFar: T, progress: Progress) => void;

/** Runs a metrics query over a range, with at most so many exemplars. `show` is told what is counted on the way. */
export async function series(
  q: string,
  range: Range,
  step: number,
  signal: AbortSignal,
  exemplars = 0,
  show?: Show<Series[]>,
): Promise<Series[]> {
  const query = new URLSearchParams({
    q,
    start: `${range.from}`,
    end: `${range.to}`,
    step: `${step}s`,
    exemplars: `${exemplars}`,
  });
  return counted(`metrics/query_range?${query}`, seriesOf, joined, signal, show);
}

/** Runs a metrics query over a range as one step. `show` is told what is counted on the way. */
export async function values(
  q: string,
  range: Range,
  signal: AbortSignal,
  show?: Show<Value[]>,
): Promise<Value[]> {
  const query = new URLSearchParams({ q, start: `${range.from}`, end: `${range.to}` });
  // A series that comes again has a new value.
  const join = (_: Value, later: Value) => later;
  return counted(`metrics/query?${query}`, valuesOf, join, signal, show);
}

/** Reads the stream of a query: differences, which are joined by their labels, then the whole answer. */
async function counted<A extends Whole, T extends Pick<Series, "labels" | "texts">>(
  path: string,
  read: (answer: A) => T[],
  join: (known: T, later: T) => T,
  signal: AbortSignal,
  show: Show<T[]> = () => {},
): Promise<T[]> {
  const soFar = new Map<string, T>();
  for await (const { answer, done, isFirst } of answers<A>(path, SERIES, signal)) {
    if (isFirst) soFar.clear();
    const { totalJobs = 0, completedJobs = 0 } = answer.metrics ?? {};
    const progress = {
      share: done || totalJobs === 0 ? Number(done) : completedJobs / totalJobs,
      message: messageOf(answer),
    };
    if (done) {
      const all = read(answer);
      show(all, progress);
      return all;
    }
    for (const one of read(answer)) {
      const key = JSON.stringify([one.labels, one.texts]);
      const known = soFar.get(key);
      soFar.set(key, known ? join(known, one) : one);
    }
    show([...soFar.values()], progress);
  }
  throw new Error("the answer broke off");
}

/** Series of compact answers; what is no number is left out. */
export function seriesOf({ start = 0, step = 0, series = [] }: CompactAnswer): Series[] {
  return series.map(({ labels = {}, texts, values = [], exemplars = [] }) => ({
    labels,
    ...(texts && { texts }),
    points: values.flatMap((value, at): [number, number][] =>
      typeof value === "number" ? [[start + at * step, value]] : [],
    ),
    exemplars: exemplars.map(([millis, value, traceId, span]) => ({
      traceId,
      spanId: span ? span.padStart(16, "0") : null,
      millis,
      value,
    })),
  }));
}

/** A series with the points and exemplars of later ones. */
function joined(known: Series, later: Series): Series {
  const points = [...known.points, ...later.points].sort(([one], [other]) => one - other);
  return { ...known, points, exemplars: [...known.exemplars, ...later.exemplars] };
}

function valuesOf(answer: InstantAnswer): Value[] {
  return (answer.series ?? []).map(({ labels, value }) => ({ labels: labelsOf(labels), value: value ?? 0 }));
}
