import { json } from "./api";
import type { Range } from "./range";

export interface Exemplar {
  traceId: string;
  /** Unix milliseconds. */
  millis: number;
  value: number;
}

/** Values in time of one set of labels. */
export interface Series {
  labels: Record<string, string>;
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

interface SeriesAnswer {
  series?: {
    labels?: Label[];
    samples?: { timestampMs?: string; value?: number }[];
    exemplars?: { labels?: Label[]; timestampMs?: string; value?: number }[];
    value?: number;
  }[];
  status?: string;
  message?: string;
}

function labelsOf(labels: Label[] = []): Record<string, string> {
  return Object.fromEntries(
    labels.map(({ key, value }) => [key, String(Object.values(value ?? {})[0] ?? "")]),
  );
}

/** The step with which a range has about so many points: whole seconds. */
export function stepFor(range: Range, points: number): number {
  return Math.max(1, Math.ceil((range.to - range.from) / points));
}

/** Runs a metrics query over a range, with at most so many exemplars. */
export async function series(
  q: string,
  range: Range,
  step: number,
  signal: AbortSignal,
  exemplars = 0,
): Promise<Series[]> {
  const query = new URLSearchParams({
    q,
    start: `${range.from}`,
    end: `${range.to}`,
    step: `${step}s`,
    exemplars: `${exemplars}`,
  });
  const answer = await json<SeriesAnswer>(`metrics/query_range?${query}`, signal);
  return (answer.series ?? []).map(({ labels, samples, exemplars }) => ({
    labels: labelsOf(labels),
    points: (samples ?? []).map(({ timestampMs, value }) => [Number(timestampMs ?? 0), value ?? 0]),
    exemplars: (exemplars ?? []).map(({ labels, timestampMs, value }) => ({
      traceId: labelsOf(labels)["trace:id"] ?? "",
      millis: Number(timestampMs ?? 0),
      value: value ?? 0,
    })),
  }));
}

/** Runs a metrics query over a range as one step. */
export async function values(q: string, range: Range, signal: AbortSignal): Promise<Value[]> {
  const query = new URLSearchParams({ q, start: `${range.from}`, end: `${range.to}` });
  const answer = await json<SeriesAnswer>(`metrics/query?${query}`, signal);
  return (answer.series ?? []).map(({ labels, value }) => ({ labels: labelsOf(labels), value: value ?? 0 }));
}

/** The sum of series by interval of a range. */
export function slots(all: Series[], range: Range, step: number): number[] {
  const count = Math.max(1, Math.ceil((range.to - range.from) / step));
  const sums = new Array<number>(count).fill(0);
  for (const { points } of all) {
    for (const [millis, value] of points) {
      const slot = Math.min(count - 1, Math.floor((millis / 1000 - range.from) / step));
      if (slot >= 0 && Number.isFinite(value)) sums[slot] += value;
    }
  }
  return sums;
}
