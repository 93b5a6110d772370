import fc from "fast-check";
import type { Skeleton } from "../src/trace/skeleton";
import { type Made, made } from "./trace";

/** A span of any trace: `above` chooses its parent. */
const span = fc.record({
  above: fc.nat(1_000),
  name: fc.constantFrom("a", "b", "c"),
  service: fc.constantFrom("shop", "bank"),
  start: fc.nat(60),
  duration: fc.integer({ min: -10, max: 60 }),
  error: fc.boolean(),
});

/** Any trace as the server sends it: rows in preorder, siblings by start; times may lie outside of the parent's. */
export const anyTrace: fc.Arbitrary<Skeleton> = fc
  .array(span, { minLength: 1, maxLength: 40 })
  .map((spans) => {
    const parents = spans.map(({ above }, at) => (above % (at + 1)) - 1);
    const all: Made[] = [];
    const add = (at: number, parent: number) => {
      const place = all.push({ ...spans[at], parent }) - 1;
      for (const child of below(at)) add(child, place);
    };
    const below = (at: number) =>
      [...parents.keys()]
        .filter((child) => parents[child] === at)
        .sort((one, other) => spans[one].start - spans[other].start);
    for (const root of below(-1)) add(root, -1);
    return made(all);
  });

/** Rows of a trace. */
export function rowsBelow(trace: Skeleton, above: number): number[] {
  return [...trace.parent.keys()].filter((row) => trace.parent[row] === above);
}
