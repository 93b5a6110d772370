import type { Skeleton } from "../src/trace/skeleton";

/** A span for a test: times in nanoseconds. Rows are in display order. */
export interface Made {
  name?: string;
  service?: string;
  parent?: number;
  start?: number;
  duration?: number;
  error?: boolean;
}

function numbered(texts: string[]): { names: string[]; numbers: Uint32Array } {
  const names = [...new Set(texts)];
  return { names, numbers: Uint32Array.from(texts, (text) => names.indexOf(text)) };
}

/** A trace of these spans; the id of a row is the row and 1. */
export function made(spans: Made[]): Skeleton {
  const names = numbered(spans.map(({ name = "work" }) => name));
  const services = numbered(spans.map(({ service = "shop" }) => service));
  const id = new Uint8Array(spans.length * 8);
  const view = new DataView(id.buffer);
  for (let row = 0; row < spans.length; row += 1) view.setBigUint64(row * 8, BigInt(row + 1));
  return {
    traceId: "1".repeat(32),
    begin: 0n,
    count: spans.length,
    services: services.names,
    names: names.names,
    partial: false,
    message: "",
    missingParents: 0,
    start: Float64Array.from(spans, ({ start = 0 }) => start),
    duration: Float64Array.from(spans, ({ duration = 10 }) => duration),
    id,
    parent: Int32Array.from(spans, ({ parent = -1 }) => parent),
    name: names.numbers,
    service: services.numbers,
    events: new Uint16Array(spans.length),
    links: new Uint16Array(spans.length),
    flags: Uint8Array.from(spans, ({ error = false }) => (error ? 2 << 3 : 0)),
  };
}
