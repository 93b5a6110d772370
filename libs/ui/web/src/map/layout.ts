import { type Edge, keyOf } from "./edges";

export interface Drawn {
  width: number;
  height: number;
  nodes: { name: string; x: number; y: number; width: number; height: number }[];
  edges: { edge: Edge; path: string; x: number; y: number }[];
}

const MARGIN = 12;
const HEIGHT = 32;

/** Pixels that a letter on an edge takes, about. */
export const LETTER = 6.2;

/** A map that is taller begins at its top, where one sees without scrolling who calls; a lower one is balanced. */
const TALL = 800;

/** `letters`: how long what stands on an edge is. Layers from left to right. Equal edges give an equal picture: they are put in order first. */
export async function layout(edges: Edge[], letters = 14): Promise<Drawn> {
  const dagre = await import("@dagrejs/dagre");
  const balanced = arrange(dagre, edges, letters);
  return balanced.height <= TALL ? balanced : arrange(dagre, edges, letters, "UL");
}

type Dagre = typeof import("@dagrejs/dagre");

function arrange({ Graph, layout }: Dagre, edges: Edge[], letters: number, align?: "UL"): Drawn {
  const graph = new Graph({ multigraph: true });
  const spaces = { nodesep: 24, ranksep: 110, edgesep: 18, marginx: MARGIN, marginy: MARGIN };
  // Of calls in circles this turns the fewest around, which are slow to draw and make a map wide.
  graph.setGraph({ rankdir: "LR", acyclicer: "greedy", ...spaces, ...(align && { align }) });
  graph.setDefaultEdgeLabel(() => ({}));
  const names = [...new Set(edges.flatMap(({ client, server }) => [client, server]))].sort();
  // dagre keeps what it draws in plain objects, joined by controls, and takes an empty name for none: a service may be called
  // `constructor`, or have such letters or no name.
  const ids = new Map(names.map((name, at) => [name, `n${at}`]));
  const idOf = (name: string) => ids.get(name) as string;
  for (const name of names) {
    graph.setNode(idOf(name), { width: Math.min(230, 24 + 8 * Math.max(6, name.length)), height: HEIGHT });
  }
  const inOrder = [...edges].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  inOrder.forEach(({ client, server }, at) => {
    const label = { width: letters * LETTER, height: 16, labelpos: "c" } as const;
    graph.setEdge(idOf(client), idOf(server), label, `e${at}`);
  });
  layout(graph);
  const { width = 0, height = 0 } = graph.graph();
  return {
    width,
    height,
    nodes: names.map((name) => {
      const { x, y, width, height } = graph.node(idOf(name));
      return { name, x: x - width / 2, y: y - height / 2, width, height };
    }),
    edges: inOrder.map((edge, at) => {
      const [client, server] = [idOf(edge.client), idOf(edge.server)];
      const { points, x = points[0].x, y = points[0].y } = graph.edge(client, server, `e${at}`);
      const path = client === server ? loop(graph.node(client), y) : curve(points);
      return { edge, path, x, y };
    }),
  };
}

/** A line from the bottom of a node back to it, down to `y`: the points that dagre has for it are beside the node. */
function loop(node: { x: number; y: number }, y: number): string {
  const bottom = node.y + HEIGHT / 2;
  // A curve goes three quarters of the way to where it is pulled.
  const pull = bottom + (y - bottom) / 0.75;
  return `M${node.x + 20} ${bottom}C${node.x + 48} ${pull} ${node.x - 48} ${pull} ${node.x - 20} ${bottom}`;
}

/** A smooth line through points, level at each of them: what stands there is on the line. */
function curve(points: { x: number; y: number }[]): string {
  const at = (x: number, y: number) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  let path = `M${at(points[0].x, points[0].y)}`;
  for (let next = 1; next < points.length; next += 1) {
    const [here, there] = [points[next - 1], points[next]];
    const middle = (here.x + there.x) / 2;
    path += `C${at(middle, here.y)} ${at(middle, there.y)} ${at(there.x, there.y)}`;
  }
  return path;
}
