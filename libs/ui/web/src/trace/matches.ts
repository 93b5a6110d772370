import { useEffect, useMemo, useState } from "preact/hooks";
import { reason } from "../api";
import { findSpans, isQuery } from "./find";
import { find as findText, NO_ROWS } from "./rows";
import type { Skeleton } from "./skeleton";
import type { Source } from "./source";

/** A query runs when it has been left alone for so many milliseconds. */
const FIND_AFTER = 150;

interface Matching {
  rows: Int32Array;
  problem: string | null;
  /** What is to be said if some matches may be missing; else empty. */
  message: string;
}

const NONE: Matching = { rows: NO_ROWS, problem: null, message: "" };

/** Rows that a text finds, at once, or a query; those of the last query until that is answered. */
export function useMatches(
  source: Source,
  trace: Skeleton,
  text: string,
  tries: number,
): Matching & { isKnown: boolean } {
  const [found, setFound] = useState({ ...NONE, text: "" });
  const ofText = useMemo(() => (isQuery(text) ? null : findText(trace, text)), [trace, text]);
  useEffect(() => {
    if (!isQuery(text)) return setFound({ ...NONE, text });
    const stop = new AbortController();
    const timer = setTimeout(() => {
      findSpans(source, trace, text, stop.signal).then(
        (answer) => setFound({ ...NONE, ...answer, text }),
        (error) => {
          if (!stop.signal.aborted) setFound({ ...NONE, text, problem: reason(error) });
        },
      );
    }, FIND_AFTER);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [source, trace, text, tries]);
  if (ofText) return { ...NONE, rows: ofText, isKnown: true };
  return { ...found, isKnown: found.text === text };
}
