import { useEffect, useState } from "preact/hooks";
import { reason } from "./api";

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
