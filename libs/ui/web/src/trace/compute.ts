import type { Answers, Asked, Computed, Question, Said } from "./computed";
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

/** Computes in the background what takes long for large traces, until nobody wants it any more. */
class Background {
  private readonly worker = new Worker(policy.createScriptURL(workerUrl), { type: "module" });
  private readonly waiting = new Map<
    number,
    { resolve: (answer: never) => void; reject: (why: unknown) => void }
  >();
  private asked = 0;

  constructor(private readonly signal: AbortSignal) {
    signal.addEventListener("abort", () => {
      this.worker.terminate();
      this.fail(signal.reason);
    });
    this.worker.onmessage = ({ data }: MessageEvent<Said>) => {
      const waiting = this.waiting.get(data.number);
      this.waiting.delete(data.number);
      if ("problem" in data) waiting?.reject(new Error(data.problem));
      else waiting?.resolve(data.answer as never);
    };
    this.worker.onmessageerror = () => this.fail(new Error("the worker's answer cannot be read"));
    this.worker.onerror = (event) => this.fail(new Error(event.message || "the worker failed"));
  }

  /** Asks; what is in `transfer` is given away. */
  ask<Q extends Question>(question: Q, transfer: Transferable[] = []): Promise<Answers[Q["kind"]]> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) return reject(this.signal.reason);
      this.asked += 1;
      const asked: Asked = { number: this.asked, question };
      this.waiting.set(asked.number, { resolve, reject });
      this.worker.postMessage(asked, transfer);
    });
  }

  private fail(why: unknown) {
    for (const { reject } of this.waiting.values()) reject(why);
    this.waiting.clear();
  }
}

/** The answer to one question that needs no open trace; what is in `transfer` is given away. */
export async function inBackground<Q extends Question>(
  question: Q,
  signal: AbortSignal,
  transfer: Transferable[] = [],
): Promise<Answers[Q["kind"]]> {
  const done = new AbortController();
  try {
    return await new Background(AbortSignal.any([signal, done.signal])).ask(question, transfer);
  } finally {
    done.abort();
  }
}

/** What is computed of an open trace. */
export class Computation {
  private readonly background: Background;
  /** What is in the trace. */
  readonly found: Promise<Computed>;

  constructor({ trace, shape }: Model, signal: AbortSignal) {
    this.background = new Background(signal);
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
    this.found = this.background.ask(
      { kind: "found", trace: copy, size: shape.size },
      columns.map(({ buffer }) => buffer),
    );
  }

  ask<Q extends Question>(question: Q): Promise<Answers[Q["kind"]]> {
    return this.background.ask(question);
  }
}
