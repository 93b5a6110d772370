import { useEffect, useState } from "preact/hooks";
import { reason } from "./api";
import type { Progress } from "./metrics";

/** An answer, or why there is none; neither while it is on its way. */
export interface Loaded<T> {
  value: T | null;
  problem: string | null;
}

/** Loads whenever `key` is another. `null` loads nothing. What is no longer wanted is given up. */
export function useLoaded<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T> & { key: string | null }>({
    key: null,
    value: null,
    problem: null,
  });
  useEffect(() => {
    if (key === null) return;
    const stop = new AbortController();
    load(stop.signal).then(
      (value) => setLoaded({ key, value, problem: null }),
      (error) => {
        if (!stop.signal.aborted) setLoaded({ key, value: null, problem: reason(error) });
      },
    );
    return () => stop.abort();
  }, [key]);
  return loaded.key === key ? loaded : { value: null, problem: null };
}

/** What is known so far of an answer that grows. */
export interface Streamed<T> extends Loaded<T> {
  done: boolean;
  progress: Progress;
}

const NOTHING = { share: 0, message: "" };

/** As `useLoaded`, but what `load` shows on the way is there already. */
export function useStreamed<T>(
  key: string | null,
  load: (signal: AbortSignal, show: (soFar: T, progress: Progress) => void) => Promise<T>,
): Streamed<T> {
  const none = { value: null, problem: null, done: false, progress: NOTHING };
  const [streamed, setStreamed] = useState<Streamed<T> & { key: string | null }>({ ...none, key: null });
  useEffect(() => {
    if (key === null) return;
    const stop = new AbortController();
    let last = NOTHING;
    const show = (value: T, progress: Progress) => {
      last = progress;
      if (!stop.signal.aborted) setStreamed({ key, value, problem: null, done: false, progress });
    };
    load(stop.signal, show).then(
      (value) => {
        if (!stop.signal.aborted) setStreamed({ key, value, problem: null, done: true, progress: last });
      },
      (error) => {
        if (!stop.signal.aborted) setStreamed({ ...none, key, problem: reason(error) });
        // Of several queries the others go on, and would show what they find in the place of the error.
        stop.abort();
      },
    );
    return () => stop.abort();
  }, [key]);
  return streamed.key === key ? streamed : none;
}

/** Says how far an answer is that is still growing. */
export function reading({ done, progress }: Streamed<unknown>): string {
  return done ? "" : `reading… ${Math.round(progress.share * 100)} %`;
}
