import { expect, test } from "vitest";
import type { Edge } from "../src/map/edges";
import { layout } from "../src/map/layout";

function call(client: string, server: string): Edge {
  return { client, server, kind: "", virtual: "", calls: 1, errors: 0, p95: 0 };
}

test("a service that calls itself has a line from it and back to it", async () => {
  const { nodes, edges } = await layout([call("a", "b"), call("b", "b")]);
  const [node] = nodes.filter(({ name }) => name === "b");
  const [edge] = edges.filter(({ edge: { client } }) => client === "b");
  const [, start, end] = /^M\S+ (\S+)C.* (\S+)$/.exec(edge.path) ?? [];
  expect([Number(start), Number(end)]).toEqual(Array(2).fill(node.y + node.height));
  expect(edge.y).toBeGreaterThan(node.y + node.height);
});

test("the caller of few services stands in their middle, that of many at the top of the map", async () => {
  const callees = (count: number) => Array.from({ length: count }, (_, n) => call("gateway", `service-${n}`));
  const few = await layout(callees(5));
  const many = await layout([call("user", "gateway"), ...callees(40)]);
  const of = ({ nodes }: typeof few, name: string) => nodes.find((node) => node.name === name)?.y ?? -1;
  expect(of(few, "gateway")).toBeCloseTo(few.height / 2 - 16, 0);
  expect(many.height).toBeGreaterThan(2000);
  for (const name of ["user", "gateway"]) expect(of(many, name)).toBeLessThan(400);
  expect(Math.min(...many.nodes.map(({ y }) => y))).toBeGreaterThanOrEqual(0);
});
