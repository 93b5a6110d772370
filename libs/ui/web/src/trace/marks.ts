import type { Details } from "./details";
import { sinceStart } from "./events";
import { type Skeleton, spanId } from "./skeleton";

/** Events are asked for when the view has been left alone for so many milliseconds. */
export const MARK_AFTER = 300;
/** Of larger traces the server reads attributes only of spans that are selected. */
const LARGE = 20_000;
/** Spans with more events are marked when they are selected; more marks would be one line. */
const MANY = 100;

/** When events of spans happened, by row, in nanoseconds from the start of the trace. */
export type Marks = ReadonlyMap<number, readonly number[]>;
export const NO_MARKS: Marks = new Map();

/** Of rows in view, those whose events are to be marked and are not yet. */
export function unmarked(trace: Skeleton, rows: Iterable<number>, selected: number, marks: Marks): number[] {
  return [...rows].filter((row) => {
    const count = trace.events[row];
    const isWanted = row === selected || (trace.count <= LARGE && count <= MANY);
    return count > 0 && isWanted && !marks.has(row);
  });
}

/** The marks of rows, and those that there were. Rows whose details could not be read have none yet. */
export async function withMarks(
  trace: Skeleton,
  details: Details,
  rows: number[],
  known: Marks,
  signal: AbortSignal,
): Promise<Marks> {
  const found = await details.all(
    rows.map((row) => spanId(trace, row)),
    signal,
  );
  const marks = new Map(known);
  for (const row of rows) {
    const spans = found.get(spanId(trace, row));
    if (!spans) continue;
    const times = spans.flatMap(({ span }) =>
      (span.events ?? [])
        .filter(({ timeUnixNano = "0" }) => timeUnixNano !== "0")
        .map((event) => sinceStart(event, span)),
    );
    // From the start that is shown, which need not be the one that was sent.
    marks.set(
      row,
      times.slice(0, MANY).map((since) => trace.start[row] + since),
    );
  }
  return marks;
}
