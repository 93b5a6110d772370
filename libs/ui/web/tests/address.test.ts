import { beforeEach, expect, test, vi } from "vitest";
import { hiddenOf, hiddenParams } from "../src/explore/hidden";
import { boxOf, type Grid, textOf } from "../src/heatmap/grid";
import { pathOf, pathsOf } from "../src/trace/paths";
import { made } from "./trace";

const PAGE = "http://pages.example/ui/";

/** The addresses that a browser without pages was given, newest last; `back` goes to one as its button does. */
function browser() {
  const given: string[] = [];
  const listeners = new Map<string, (event: unknown) => void>();
  const location = { href: `${PAGE}trace/1`, pathname: "/ui/trace/1", origin: "http://pages.example" };
  const goTo = (url: URL | string) => {
    location.href = `${url}`;
    location.pathname = new URL(url).pathname;
  };
  const change = (_: unknown, __: string, url?: URL) => {
    if (!url) return;
    given.push(`${url}`.slice(PAGE.length));
    goTo(url);
  };
  vi.stubGlobal("location", location);
  vi.stubGlobal("history", { pushState: change, replaceState: change, state: null });
  vi.stubGlobal("scrollTo", () => {});
  vi.stubGlobal("addEventListener", (name: string, listener: (event: unknown) => void) =>
    listeners.set(name, listener),
  );
  const back = (path: string) => {
    goTo(`${PAGE}${path}`);
    listeners.get("popstate")?.({});
  };
  /** Clicks on a link; true if the browser is to follow it. */
  const click = (attributes: Record<string, string>, properties = {}) => {
    const link = {
      ...properties,
      getAttribute: (name: string) => attributes[name] ?? null,
      hasAttribute: (name: string) => name in attributes,
    };
    const event = { button: 0, target: { closest: () => link }, preventDefault: vi.fn() };
    listeners.get("click")?.(event);
    return event.preventDefault.mock.calls.length === 0;
  };
  return { given, back, click };
}

beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
});

test("address follows a state when that has come to rest", async () => {
  const { given } = browser();
  const { setParams, writeSoon } = await import("../src/router");
  const one = {};
  for (const span of ["a", "b", "c"]) writeSoon(one, () => setParams({ span }));
  writeSoon({}, () => setParams({ find: "x" }));
  expect(given).toEqual([]);
  vi.advanceTimersByTime(250);
  expect(given).toEqual(["trace/1?span=c", "trace/1?span=c&find=x"]);
  vi.advanceTimersByTime(1000);
  expect(given).toHaveLength(2);
});

test("what is yet to be written is written before anybody goes elsewhere or takes the address", async () => {
  const { given } = browser();
  const { here, navigate, setParams, writeSoon } = await import("../src/router");
  writeSoon({}, () => setParams({ span: "a" }));
  expect(here()).toBe(`${PAGE}trace/1?span=a`);
  writeSoon({}, () => setParams({ span: "b" }));
  setParams({ sort: "calls" });
  writeSoon({}, () => setParams({ span: "c" }));
  navigate("search");
  expect(given).toEqual([
    "trace/1?span=a",
    "trace/1?span=b",
    "trace/1?span=b&sort=calls",
    "trace/1?span=c&sort=calls",
    "search",
  ]);
});

test("what is yet to be written is not written over the address that one went back to", async () => {
  const { given, back } = browser();
  const { forget, setParams, writeSoon } = await import("../src/router");
  writeSoon({}, () => setParams({ span: "a" }));
  back("trace/2");
  const one = {};
  writeSoon(one, () => setParams({ span: "b" }));
  forget(one);
  vi.advanceTimersByTime(1000);
  expect(given).toEqual([]);
});

test("links within the pages are followed without loading them again, in a picture as well", async () => {
  const { given, click } = browser();
  await import("../src/router");
  // What a link of an SVG has for properties: https://svgwg.org/svg2-draft/linking.html
  const inPicture = { target: { baseVal: "" }, href: { baseVal: "map?focus=shop" } };
  expect(click({ href: "map?focus=shop" }, inPicture)).toBe(false);
  expect(click({ href: "search" })).toBe(false);
  expect(given).toEqual(["map?focus=shop", "search"]);
  for (const attributes of [
    { href: "search", target: "_blank" },
    { href: "search", download: "" },
    { href: "http://elsewhere.example/ui/search" },
    { href: "/other" },
    { href: "https://" },
    {},
  ] as Record<string, string>[]) {
    expect(click(attributes), JSON.stringify(attributes)).toBe(true);
  }
  expect(given).toHaveLength(2);
});

test("order of a table is read from the address", async () => {
  browser();
  const { orderOf } = await import("../src/sorting");
  const columns = ["name", "calls"] as const;
  const first = { by: "calls", ascending: false } as const;
  const order = (text: string) => orderOf(text, columns, first);
  expect(order("name")).toEqual({ by: "name", ascending: true });
  expect(order("-name")).toEqual({ by: "name", ascending: false });
  for (const text of ["", "-", "other", "--name"]) expect(order(text)).toEqual(first);
});

test("compare without ids asks for them", async () => {
  browser();
  const { pageOf } = await import("../src/router");
  expect(pageOf("compare")).toEqual({ name: "pair" });
  expect(pageOf("compare/1...2")).toMatchObject({ name: "compare" });
  expect(pageOf("compare/1").name).toBe("unknown");
});

test("series that are left out are found again wherever they stand", () => {
  const names = ["a=1", "a=2", "a=3", "b"];
  const kept = hiddenParams(names, new Set([1]));
  expect(kept.shown).toBeNull();
  expect([...hiddenOf(["b", "new", "a=2"], kept.hidden, kept.shown)]).toEqual([2]);
  const most = hiddenParams(names, new Set([0, 1, 3]));
  expect(most.hidden).toBeNull();
  expect([...hiddenOf(["a=3", "b", "new"], most.hidden, most.shown)]).toEqual([1, 2]);
  const all = hiddenParams(names, new Set([0, 1, 2, 3]));
  expect([...hiddenOf(names, all.hidden, all.shown)]).toEqual([0, 1, 2, 3]);
  expect(hiddenParams(names, new Set())).toEqual({ hidden: null, shown: null });
  expect([...hiddenOf(names, null, null)]).toEqual([]);
});

test("box of a heatmap is where it was, although the grid around it is another", () => {
  const grid = (from: number, first: number): Grid => ({
    from,
    step: 30,
    count: 4,
    perDoubling: 4,
    first,
    counts: [0, 0, 0].map(() => [0, 0, 0, 0]),
  });
  const box = [
    { column: 2, line: 0 },
    { column: 1, line: 2 },
  ] as const;
  const text = textOf([...box], grid(600, -5));
  expect(text).toBe("660.-5.630.-3");
  expect(boxOf(text, grid(600, -5))).toEqual(box);
  expect(boxOf(text, grid(570, -6))).toEqual([
    { column: 3, line: 1 },
    { column: 2, line: 2 },
  ]);
  // A part of it is there no more.
  expect(boxOf(text, grid(660, -4))).toEqual([
    { column: 0, line: 0 },
    { column: 0, line: 1 },
  ]);
  expect([boxOf(text, grid(690, -5)), boxOf(text, grid(600, 0))]).toEqual([null, null]);
  for (const wrong of ["", "1", "a.b.c.d", "1.2.3", "1.2.3.4.5", "9".repeat(20)]) {
    expect(boxOf(wrong, grid(600, -5))).toBeNull();
  }
});

test("calls that a flame graph shows are found by any span of theirs", () => {
  const trace = made([
    { name: "root" },
    { name: "call", parent: 0 },
    { name: "leaf", parent: 1 },
    { parent: 0 },
  ]);
  const root = pathsOf(trace, new Float64Array(4));
  expect(pathOf(root, trace, 2)).toMatchObject({ name: "leaf", longest: 2 });
  expect(pathOf(root, trace, 0)?.children.size).toBe(2);
});
