import { inBackground } from "../trace/compute";
import { type Edge, keyOf } from "./edges";
import type { Drawn } from "./layout";

/** Calls that are drawn: of more, nobody could follow a line. */
export const MOST_EDGES = 400;

/** Where services and these calls are drawn. Hundreds of calls take seconds, in which the page does not stand still. */
export async function drawn(edges: Edge[], signal: AbortSignal, letters?: number): Promise<Drawn> {
  const asked = new Map(edges.map((edge) => [keyOf(edge), edge]));
  const found = await inBackground({ kind: "layout", edges, letters }, signal);
  // What another thread answers are copies.
  return {
    ...found,
    edges: found.edges.map((one) => ({ ...one, edge: asked.get(keyOf(one.edge)) ?? one.edge })),
  };
}
