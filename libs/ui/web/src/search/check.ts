import { useEffect, useState } from "preact/hooks";
import { type Check, check, traceId } from "./query";

/** What is typed is checked when it has been left alone for so many milliseconds. */
const CHECK_AFTER = 250;

export type QueryError = NonNullable<Check["error"]>;

/** What is wrong with a query that is typed; null if nothing is, or nobody knows. */
export function useCheck(text: string, kind: "search" | "metrics"): QueryError | null {
  const [checked, setChecked] = useState<Check | null>(null);
  useEffect(() => {
    setChecked(null);
    if (text.trim() === "" || traceId(text)) return;
    const stop = new AbortController();
    const timer = setTimeout(() => check(text, stop.signal).then(setChecked, () => {}), CHECK_AFTER);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  if (checked?.error) return checked.error;
  if (kind === "metrics" && checked?.kind === "search") {
    return { message: "a metrics query ends in a function, as in { } | rate()" };
  }
  return null;
}
