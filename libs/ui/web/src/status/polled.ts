import { useEffect, useState } from "preact/hooks";
import { reason } from "../api";
import type { Loaded } from "../loaded";

/** Loads again so many milliseconds after each answer, while the page is seen. The last answer stays while there is no newer one. */
export function usePolled<T>(
  load: (signal: AbortSignal) => Promise<T>,
  every: number,
): Loaded<T> & { again(): void } {
  const [loaded, setLoaded] = useState<Loaded<T>>({ value: null, problem: null });
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      if (!document.hidden) {
        try {
          const value = await load(stop.signal);
          setLoaded({ value, problem: null });
        } catch (error) {
          if (stop.signal.aborted) return;
          setLoaded(({ value }) => ({ value, problem: reason(error) }));
        }
      }
      if (!stop.signal.aborted) timer = setTimeout(ask, every);
    };
    ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [asked]);
  return { ...loaded, again: () => setAsked(asked + 1) };
}
