import { afterEach, expect, test, vi } from "vitest";
import { answers } from "../src/events";
import { HIDDEN_AFTER, seen, untilSeen, whileSeen } from "../src/seen";

function show(isShown: boolean) {
  Object.assign(document, { hidden: !isShown });
  document.dispatchEvent(new Event("visibilitychange"));
}

afterEach(() => {
  vi.useRealTimers();
  show(true);
});

test("page that is hidden for a moment goes on, one that is hidden for long stops", async () => {
  vi.useFakeTimers();
  const outer = new AbortController();
  const { signal, release } = whileSeen(outer.signal);
  show(false);
  vi.advanceTimersByTime(HIDDEN_AFTER - 1);
  show(true);
  vi.advanceTimersByTime(HIDDEN_AFTER);
  expect([seen.value, signal.aborted]).toEqual([true, false]);
  show(false);
  vi.advanceTimersByTime(HIDDEN_AFTER);
  expect([seen.value, signal.aborted]).toEqual([false, true]);
  release();
  const waiting = untilSeen(outer.signal);
  show(true);
  await waiting;
  await untilSeen(outer.signal);
});

test("what nobody wants any more ends, seen or not", async () => {
  vi.useFakeTimers();
  const outer = new AbortController();
  const { signal } = whileSeen(outer.signal);
  show(false);
  vi.advanceTimersByTime(HIDDEN_AFTER);
  const waiting = untilSeen(outer.signal);
  outer.abort();
  await expect(waiting).rejects.toThrow();
  expect(signal.aborted).toBe(true);
  expect(whileSeen(outer.signal).signal.aborted).toBe(true);
});

test("query of a page that was hidden begins anew when that is shown", async () => {
  vi.useFakeTimers();
  const event = (name: string, data: string) => new TextEncoder().encode(`event: ${name}\ndata: ${data}\n\n`);
  const ended: boolean[] = [];
  const fetched = vi.fn(async (_: URL, { signal }: { signal: AbortSignal }) => {
    const isAgain = fetched.mock.calls.length > 1;
    const body = new ReadableStream<Uint8Array>({
      start(stream) {
        stream.enqueue(event("difference", "1"));
        if (isAgain) stream.enqueue(event("complete", "2"));
        signal.addEventListener("abort", () => {
          ended.push(isAgain);
          stream.error(signal.reason);
        });
      },
    });
    return new Response(body);
  });
  vi.stubGlobal("fetch", fetched);
  const parts = answers<number>("search", "", new AbortController().signal);
  expect((await parts.next()).value).toEqual({ answer: 1, done: false, isFirst: true });
  const waiting = parts.next();
  show(false);
  await vi.advanceTimersByTimeAsync(HIDDEN_AFTER);
  expect([ended, fetched.mock.calls.length]).toEqual([[false], 1]);
  show(true);
  expect((await waiting).value).toEqual({ answer: 1, done: false, isFirst: true });
  expect((await parts.next()).value).toEqual({ answer: 2, done: true, isFirst: false });
  expect((await parts.next()).done).toBe(true);
  vi.unstubAllGlobals();
});
