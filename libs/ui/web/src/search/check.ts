import { useEffect, useState } from "preact/hooks";
import type { Range } from "../range";
import { type Check, check, traceId } from "./query";

/** What is typed is checked when it has been left alone for so many milliseconds. */
const CHECK_AFTER = 250;

/** Said of a metrics query where spans are to be chosen. */
export const FILTER_WANTED =
  "a filter of spans is wanted here, as { status = error }, without a metrics function";

export type QueryError = NonNullable<Check["error"]>;

export interface Checked {
  /** Null if nothing is wrong, or nobody knows. */
  problem: QueryError | null;
  /** Null while it is not known, and for what cannot run. */
  cost: Pick<Check, "plan" | "estimate"> | null;
}

/** What is wrong with a query that is typed, where a search, metrics or nothing but a filter is asked for, and what it would read of a range. */
export function useCheck(text: string, kind: "search" | "metrics" | "filter", range: Range): Checked {
  const [checked, setChecked] = useState<Check | null>(null);
  useEffect(() => {
    setChecked(null);
    if (text.trim() === "" || traceId(text)) return;
    const stop = new AbortController();
    const timer = setTimeout(() => check(text, range, stop.signal).then(setChecked, () => {}), CHECK_AFTER);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text, range.from, range.to]);
  if (checked?.error) return { problem: checked.error, cost: null };
  if (kind === "metrics" && checked?.kind === "search") {
    const message = "a metrics query ends in a function, as in { } | rate()";
    return { problem: { message }, cost: null };
  }
  if (kind === "filter" && checked?.kind === "metrics") {
    return { problem: { message: FILTER_WANTED }, cost: null };
  }
  return { problem: null, cost: checked?.estimate ? checked : null };
}
