import { effect, signal } from "@preact/signals";

/** A page that is hidden for so many milliseconds asks for nothing that goes on. */
export const HIDDEN_AFTER = 15_000;

/** False once the page has been hidden for a while, true again as soon as it is shown. */
export const seen = signal(!document.hidden);

let timer: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) seen.value = true;
  else timer = setTimeout(() => (seen.value = false), HIDDEN_AFTER);
});

/** A signal that ends with another one, or when the page is no longer seen. `release`: it is no longer needed. */
export function whileSeen(outer: AbortSignal): { signal: AbortSignal; release(): void } {
  const stop = new AbortController();
  const end = () => stop.abort(outer.reason);
  if (outer.aborted) end();
  outer.addEventListener("abort", end);
  const unfollow = effect(() => {
    if (!seen.value) stop.abort();
  });
  const release = () => {
    outer.removeEventListener("abort", end);
    unfollow();
  };
  return { signal: stop.signal, release };
}

/** Waits until the page is seen. Fails when the signal ends before. */
export function untilSeen(outer: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let unfollow = () => {};
    const end = () => {
      unfollow();
      reject(outer.reason);
    };
    if (outer.aborted) return end();
    outer.addEventListener("abort", end);
    const settle = () => {
      outer.removeEventListener("abort", end);
      resolve();
    };
    unfollow = effect(() => {
      if (seen.value) settle();
    });
    if (seen.peek()) unfollow();
  });
}
