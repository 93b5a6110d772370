import type { Exemplar, Series } from "../metrics";
import { quote } from "../search/form";

/** Series on one axis of time. */
export interface Table {
  /** Unix seconds, ascending. */
  times: number[];
  series: Row[];
}

export interface Row extends Pick<Series, "labels" | "texts"> {
  name: string;
  /** By time; `null` where a series has no value. */
  values: (number | null)[];
  exemplars: Exemplar[];
  last: number | null;
  mean: number | null;
  max: number | null;
}

/**
 * The text of labels, as `{service="shop"}` would have them, without the braces, and without quotes where that says the same;
 * what is measured by its name alone.
 */
export function nameOf({ labels, texts = [] }: Pick<Series, "labels" | "texts">): string {
  const shown = (key: string, value: string) => (texts.includes(key) ? quote(value) : value);
  const all = Object.entries(labels).map(([key, value]) =>
    key === "__name__" ? value : `${key}=${shown(key, value)}`,
  );
  return all.length === 0 ? "all" : all.join(" ");
}

/** Buckets of a histogram by their size; as texts 10 would come before 9. All else stays where it is. */
function inOrder(all: Series[]): Series[] {
  if (all.every(({ labels }) => labels.__bucket === undefined)) return all;
  const keyed = all.map((series) => {
    const { __bucket: bucket = "", ...rest } = series.labels;
    return { series, name: nameOf({ ...series, labels: rest }), size: Number(bucket) };
  });
  keyed.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.size - b.size));
  return keyed.map(({ series }) => series);
}

/** `isGapAtZero`: a value of 0 is none. */
export function tableOf(all: Series[], isGapAtZero = false): Table {
  const times = [...new Set(all.flatMap(({ points }) => points.map(([millis]) => millis)))].sort(
    (a, b) => a - b,
  );
  const place = new Map(times.map((millis, at) => [millis, at]));
  const series = inOrder(all).map(({ labels, texts, points, exemplars }) => {
    const values = new Array<number | null>(times.length).fill(null);
    for (const [millis, value] of points) {
      const isThere = Number.isFinite(value) && !(isGapAtZero && value === 0);
      if (isThere) values[place.get(millis) as number] = value;
    }
    const known = values.filter((value) => value !== null);
    return {
      name: nameOf({ labels, texts }),
      labels,
      texts,
      values,
      exemplars: exemplars.filter(({ value }) => Number.isFinite(value)),
      last: known.at(-1) ?? null,
      mean: known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null,
      max: known.length > 0 ? Math.max(...known) : null,
    };
  });
  return { times: times.map((millis) => millis / 1000), series };
}

/** A table of so many series, those with the largest sums, in their order. */
export function largest(table: Table, most: number): Table {
  if (table.series.length <= most) return table;
  const sum = ({ values }: Row) => values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  const sums = table.series.map((row, at) => ({ at, sum: sum(row) }));
  const kept = new Set(
    sums
      .sort((a, b) => b.sum - a.sum)
      .slice(0, most)
      .map(({ at }) => at),
  );
  return { times: table.times, series: table.series.filter((_, at) => kept.has(at)) };
}

/** The place of the step that a moment lies in: times are where steps end. -1 if the table has none. */
export function stepAt({ times }: Table, seconds: number, step: number): number {
  const at = times.findIndex((end) => end >= seconds);
  return at >= 0 && times[at] - step < seconds ? at : -1;
}

/** What an axis of values shows: 0 too, and some room beyond values, or half of a line at the last of them would be cut off. */
export function axisOf(low: number, high: number): [number, number] {
  const [bottom, top] = [Math.min(0, low), Math.max(0, high > low ? high : low + 1)];
  const room = top * 0.04 - bottom * 0.04;
  return [bottom < 0 ? bottom - room : 0, top + room];
}

/** Each series as the top of its part of a stack: with those before it added. Where it has no value there is none. */
export function stacked(all: (number | null)[][]): (number | null)[][] {
  const sums = new Array<number>(all[0]?.length ?? 0).fill(0);
  return all.map((values) =>
    values.map((value, at) => {
      if (value === null) return null;
      sums[at] += value;
      return sums[at];
    }),
  );
}

/** Comma-separated values: a line a time, a column a series. */
export function csvOf({ times, series }: Table): string {
  const cell = (text: string) => {
    // A spreadsheet would run what begins so.
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = times.map((time, at) =>
    [new Date(time * 1000).toISOString(), ...series.map(({ values }) => values[at] ?? "")].join(","),
  );
  return `${["time", ...series.map(({ name }) => cell(name))].join(",")}\n${lines.join("\n")}\n`;
}
