import { expect, test } from "vitest";
import { against, type Typical, typicalPaths } from "../src/trace/against";
import { addBelow, empty, type Path } from "../src/trace/paths";

function path(service: string, name: string, total: number, children: Path[] = []): Path {
  const made = { ...empty(service, name), calls: 1, total, weight: total };
  for (const child of children) addBelow(made, `${child.service}\u0000${child.name}`, child);
  return made;
}

const usual = (parent: number | null, name: string, traces: number, p50: number, selfP50: number) => ({
  parent,
  service: "shop",
  name,
  traces,
  calls: traces * 2,
  errors: 0,
  p50,
  p95: p50 * 2,
  selfP50,
});

const FOUND: Typical = {
  traces: 10,
  inspectedBytes: 0,
  duration: { p50: 100, p95: 200 },
  paths: [
    usual(null, "root", 10, 100, 20),
    usual(0, "read", 9, 30, 30),
    usual(0, "rare", 2, 50, 50),
    usual(2, "below rare", 2, 40, 40),
    usual(1, "deep", 5, 7, 7),
  ],
};

test("calls that most traces make are the typical ones, with what is below them", () => {
  const root = typicalPaths(FOUND).children.get("shop\u0000root") as Path;
  expect([...root.children.keys()]).toEqual(["shop\u0000read"]);
  const read = root.children.get("shop\u0000read") as Path;
  expect([read.calls, read.weight, root.weight]).toEqual([2, 37, 57]);
  expect(typicalPaths(FOUND).weight).toBe(57);
});

test("what takes most time more comes first, and what is missing counts as time less", () => {
  const trace = path("", "", 0, [
    path("shop", "root", 400, [path("shop", "rare", 60), path("shop", "new", 200)]),
  ]);
  const rows = against(trace, FOUND).map(({ name, more, depth }) => [name, more, depth]);
  expect(rows).toEqual([
    ["root", 300, 0],
    ["new", 200, 1],
    ["rare", 60, 1],
    ["read", -30, 1],
    ["deep", -7, 2],
  ]);
  const read = against(trace, FOUND).find(({ name }) => name === "read");
  expect([read?.path, read?.usual?.p95]).toEqual([null, 60]);
});
