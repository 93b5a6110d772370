import { expect, test } from "vitest";
import { type Edge, edgesOf, keyOf, spansOf } from "../src/map/edges";
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

test("services are drawn whatever they are called", async () => {
  const names = [
    "",
    "\u0000",
    "\u0001",
    "a\u0000b",
    "a\u0001b",
    "__proto__",
    "constructor",
    "length",
    "toString",
  ];
  const calls = names.flatMap((name) => [call("front", name), call(name, name)]);
  const { nodes, edges } = await layout([...calls, { ...calls[0], kind: "constructor" }]);
  expect(nodes.map(({ name }) => name)).toEqual([...names, "front"].sort());
  expect(new Set(edges.map(({ edge }) => keyOf(edge))).size).toBe(calls.length + 1);
  expect(edges.every(({ path, x, y }) => !/NaN|undefined/.test(`${path} ${x} ${y}`))).toBe(true);
});

test("calls between services whose names have controls are told apart", () => {
  const value = (client: string, server: string) => ({
    labels: { client, server, __measure: "calls" },
    value: 1,
  });
  const found = edgesOf([value("a\u0000b", "c"), value("a", "b\u0000c")], []);
  expect(found.map(({ client, server }) => [client, server])).toEqual([
    ["a\u0000b", "c"],
    ["a", "b\u0000c"],
  ]);
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
