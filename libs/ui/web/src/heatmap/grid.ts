import type { Series } from "../metrics";
import type { Range } from "../range";

/** Lines that are there at least. */
const FEWEST_DOUBLINGS = 4;

/** Steps of time: the first begins at `from`, unix seconds, or just after. */
export interface Columns {
  from: number;
  step: number;
  count: number;
}

/** Counts by size and time. */
export interface Grid extends Columns {
  /** Buckets of a doubling of the size. */
  perDoubling: number;
  /** Number of the lowest line's bucket: it holds sizes up to 2 to `first / perDoubling`. */
  first: number;
  /** By line, from below, and column. */
  counts: number[][];
}

/** A cell: column from the left, line from below. */
export interface Place {
  column: number;
  line: number;
}

export type Box = [Place, Place];

/** The steps of a range. The server has whole multiples of the step, and one step before the range. */
export function columnsOf(range: Range, step: number): Columns {
  const from = Math.floor(range.from / step) * step;
  return { from, step, count: Math.max(1, Math.ceil((range.to - from) / step)) };
}

/** The column of a sample, whose time is where its step ends; -1 outside of the range. */
function columnOf({ from, step, count }: Columns, millis: number): number {
  const column = Math.round((millis / 1000 - from) / step) - 1;
  return column < count ? column : -1;
}

/** From the first to the last of them. */
export function spanOf({ from, step, count }: Columns): Range {
  return { from, to: from + count * step };
}

/** The columns that a part of the time touches: what is drawn in them is what is found there. Null if those are all. */
export function zoomOf(part: Range, all: Columns): Range | null {
  const zoomed = spanOf(columnsOf(part, all.step));
  const { from, to } = spanOf(all);
  const within = { from: Math.max(from, zoomed.from), to: Math.min(to, zoomed.to) };
  return within.to > within.from && within.to - within.from < to - from ? within : null;
}

/** The sum of series by column. */
export function sumsOf(all: Series[], columns: Columns): number[] {
  const sums = new Array<number>(columns.count).fill(0);
  for (const { points } of all) {
    for (const [millis, value] of points) {
      const column = columnOf(columns, millis);
      if (column >= 0 && Number.isFinite(value)) sums[column] += value;
    }
  }
  return sums;
}

/** The grid of a histogram's series, `perOne` units of its size in what its labels count. Lines without spans are there too. */
export function gridOf(
  all: Series[],
  range: Range,
  step: number,
  perDoubling: number,
  perOne: number,
): Grid | null {
  const columns = columnsOf(range, step);
  const number = (one: Series) => Math.round(Math.log2(Number(one.labels.__bucket) * perOne) * perDoubling);
  const found = all
    .map((one) => ({ bucket: number(one), points: one.points }))
    .filter(({ bucket }) => Number.isFinite(bucket));
  if (found.length === 0) return null;
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { bucket } of found) {
    first = Math.min(first, bucket);
    last = Math.max(last, bucket);
  }
  first = Math.min(first, last - FEWEST_DOUBLINGS * perDoubling + 1);
  const counts = Array.from({ length: last - first + 1 }, () => new Array<number>(columns.count).fill(0));
  for (const { bucket, points } of found) {
    for (const [millis, value] of points) {
      const column = columnOf(columns, millis);
      if (column >= 0) counts[bucket - first][column] += value;
    }
  }
  return { ...columns, perDoubling, first, counts };
}

/** The largest size of a line; of line -1 the one below the lowest line. */
export function boundOf({ perDoubling, first }: Grid, line: number): number {
  return 2 ** ((first + line) / perDoubling);
}

/** Sizes that stand beside a grid. */
const MARKS = 5;

/** Sizes at even distances, from the largest at the top of a grid to the smallest at its bottom. */
export function scaleOf(grid: Grid): number[] {
  const lines = grid.counts.length;
  return Array.from({ length: MARKS }, (_, at) => boundOf(grid, lines - 1 - (at * lines) / (MARKS - 1)));
}

/** Series, the largest first, as lines of a grid: at most so many. NaN where a series has no value. */
export function linesOf(
  all: Series[],
  columns: Columns,
  most: number,
): { series: Series; values: number[] }[] {
  const lines = all.map((series) => {
    const values = new Array<number>(columns.count).fill(Number.NaN);
    let sum = 0;
    for (const [millis, value] of series.points) {
      const column = columnOf(columns, millis);
      if (column < 0) continue;
      values[column] = value;
      sum += value;
    }
    return { series, values, sum };
  });
  return lines.sort((a, b) => b.sum - a.sum).slice(0, most);
}

/** The least and the most of the numbers of a grid, and of 0. */
export function boundsOf(cells: number[][]): { least: number; most: number } {
  let [least, most] = [0, 0];
  for (const line of cells) {
    for (const value of line) {
      // Not by the library's functions, to which NaN is both.
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  return { least, most };
}

/** A box as the address has it: the time and the bucket of its first corner and of its second. */
export function textOf(box: Box, { from, step, first }: Grid): string {
  return box.map(({ column, line }) => `${from + column * step}.${first + line}`).join(".");
}

/** The box of a text, as far as a grid has it; null if the text is none, or the box lies outside. */
export function boxOf(text: string, { from, step, first, count, counts }: Grid): Box | null {
  const match = /^(\d{1,12})\.(-?\d{1,5})\.(\d{1,12})\.(-?\d{1,5})$/.exec(text);
  if (!match) return null;
  const [time, bucket, otherTime, otherBucket] = match.slice(1).map(Number);
  const place = (time: number, bucket: number): Place => ({
    column: Math.floor((time - from) / step),
    line: bucket - first,
  });
  const box: Box = [place(time, bucket), place(otherTime, otherBucket)];
  const { columns, lines } = sorted(box);
  if (columns[1] < 0 || columns[0] >= count || lines[1] < 0 || lines[0] >= counts.length) return null;
  const within = (place: number, count: number) => Math.min(count - 1, Math.max(0, place));
  return box.map(({ column, line }) => ({
    column: within(column, count),
    line: within(line, counts.length),
  })) as Box;
}

function sorted([a, b]: Box) {
  return {
    columns: [Math.min(a.column, b.column), Math.max(a.column, b.column)],
    lines: [Math.min(a.line, b.line), Math.max(a.line, b.line)],
  };
}

export function countIn(drawn: Box, counts: number[][]): number {
  const { columns, lines } = sorted(drawn);
  const within = counts.slice(lines[0], lines[1] + 1).map((line) => line.slice(columns[0], columns[1] + 1));
  return Math.round(within.flat().reduce((sum, count) => sum + count, 0));
}

/** The time of a box. */
export function rangeIn(drawn: Box, { from, step }: Columns): Range {
  const { columns } = sorted(drawn);
  return { from: from + columns[0] * step, to: from + (columns[1] + 1) * step };
}

/** The query for the spans of a box: `condition` and the size of `attribute`, whole numbers of `unit`. */
export function queryIn(drawn: Box, grid: Grid, condition: string, attribute: string, unit: string): string {
  const { lines } = sorted(drawn);
  const bound = (line: number) => `${Math.floor(boundOf(grid, line))}${unit}`;
  const size = `${attribute} > ${bound(lines[0] - 1)} && ${attribute} <= ${bound(lines[1])}`;
  return condition === "" ? `{ ${size} }` : `{ ${condition} && ${size} }`;
}
