import type { Input, Times } from "./analysis";
import type { Skeleton } from "./skeleton";
import workerUrl from "./worker.ts?worker&url";

interface Policy {
  createScriptURL(url: string): string;
}

declare global {
  interface Window {
    trustedTypes?: { createPolicy(name: string, rules: Policy): Policy };
  }
}

/** The one policy of these pages: scripts of workers, and only our own. */
const rules: Policy = {
  createScriptURL(url) {
    const absolute = new URL(url, document.baseURI);
    if (absolute.origin !== location.origin) throw new TypeError("workers come from this server only");
    return absolute.href;
  },
};
const policy = window.trustedTypes?.createPolicy("tactus", rules) ?? rules;

/** Computes in the background what takes long for a large trace. */
export function computeTimes(trace: Skeleton, signal: AbortSignal): Promise<Times> {
  const worker = new Worker(policy.createScriptURL(workerUrl), { type: "module" });
  const result = new Promise<Times>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Times>) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message || "the worker failed"));
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  const { parent, start, duration, name, service, flags } = trace;
  // Copies: whole columns share one buffer, which stays here.
  const input: Input = {
    parent: parent.slice(),
    start: start.slice(),
    duration: duration.slice(),
    name: name.slice(),
    service: service.slice(),
    flags: flags.slice(),
  };
  worker.postMessage(input, [
    input.parent.buffer,
    input.start.buffer,
    input.duration.buffer,
    input.name.buffer,
    input.service.buffer,
    input.flags.buffer,
  ]);
  return result.finally(() => worker.terminate());
}
