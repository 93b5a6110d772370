import { expect, test } from "vitest";
import { type Edge, spansOf } from "../src/map/edges";
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

test("edge leads to the spans of its own calls", () => {
  const query = (edge: Partial<Edge>) => spansOf({ ...call("shop", "mail"), ...edge });
  const of = (name: string) => `resource.service.name = "${name}"`;
  expect(query({})).toBe(`{ ${of("shop")} } > { ${of("mail")} }`);
  expect(query({ kind: "messaging_system" })).toBe(
    `({ ${of("shop")} } > { ${of("mail")} }) || ({ ${of("shop")} && kind = producer } && { ${of("mail")} && kind = consumer })`,
  );
  const database = query({ kind: "database", server: "10.0.0.1:5432" });
  expect(database).toContain(`{ ${of("shop")} && (kind = client || kind = producer) && (`);
  for (const key of [".peer.service", ".server.address", ".db.name", ".db.system"]) {
    expect(database).toContain(`${key} = "10.0.0.1:5432" || `);
  }
  expect(database).toContain('(.network.peer.address = "10.0.0.1" && .network.peer.port = 5432)) }');
  const queue = query({ kind: "virtual_node", virtual: "server", server: 'a"b' });
  expect(queue).toContain('(span.peer.service = "a\\"b" || ');
  expect(queue).toContain('span.messaging.destination.name = "a\\"b" || ');
  expect(queue).not.toContain("db.");
  const client = (client: string) => query({ kind: "virtual_node", virtual: "client", client });
  const root = `${of("mail")} && (kind = server || kind = consumer) && nestedSetParent < 0`;
  expect(client("user")).toBe(`{ ${root} }`);
  expect(client("partner")).toBe(`{ ${root} && span.peer.service = "partner" }`);
});
