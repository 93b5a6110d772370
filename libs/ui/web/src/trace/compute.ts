import type { Typical } from "./against";
import type { Answer, Computed, Question } from "./computed";
import type { Finding } from "./finding";
import type { Model } from "./model";
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

/** Computes in the background what takes long for a large trace, for as long as that is open. */
export class Computation {
  private readonly worker = new Worker(policy.createScriptURL(workerUrl), { type: "module" });

  constructor(
    { trace, shape }: Model,
    private readonly signal: AbortSignal,
  ) {
    signal.addEventListener("abort", () => this.worker.terminate());
    // Copies: whole columns share one buffer, which stays here. What the worker does not read it is not given.
    const none = new Uint8Array(0);
    const copy: Skeleton = {
      ...trace,
      id: none,
      events: new Uint16Array(0),
      links: new Uint16Array(0),
      places: undefined,
      parent: trace.parent.slice(),
      start: trace.start.slice(),
      duration: trace.duration.slice(),
      name: trace.name.slice(),
      service: trace.service.slice(),
      flags: trace.flags.slice(),
    };
    const columns = [copy.parent, copy.start, copy.duration, copy.name, copy.service, copy.flags];
    const question: Question = { trace: copy, size: shape.size };
    this.worker.postMessage(
      question,
      columns.map(({ buffer }) => buffer),
    );
  }

  /** What is in the trace. To be asked for first, once. */
  async found(): Promise<Computed> {
    const answer = await this.answer();
    if (!("found" in answer)) throw new Error("the worker answered something else");
    return answer.found;
  }

  /** How the trace is beside those alike. */
  async beside(typical: Typical): Promise<Finding | null> {
    const question: Question = { typical };
    this.worker.postMessage(question);
    const answer = await this.answer();
    if (!("beside" in answer)) throw new Error("the worker answered something else");
    return answer.beside;
  }

  private answer(): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
      this.worker.onerror = (event) => reject(new Error(event.message || "the worker failed"));
      this.signal.addEventListener("abort", () => reject(this.signal.reason), { once: true });
    });
  }
}
