import { selfTimes } from "./analysis";
import { type Answer, beside, computed, type Question } from "./computed";
import type { Skeleton } from "./skeleton";

let trace: Skeleton | null = null;

addEventListener("message", ({ data }: MessageEvent<Question>) => {
  if ("trace" in data) {
    trace = data.trace;
    const found = computed(trace, data.size);
    const columns = [found.self, found.critical, found.retry, found.errors, found.waited];
    postMessage({ found } satisfies Answer, { transfer: columns.map(({ buffer }) => buffer) });
  } else if (trace) {
    // The column of own times was given away.
    const answer: Answer = { beside: beside(trace, selfTimes(trace), data.typical) };
    postMessage(answer);
  }
});
