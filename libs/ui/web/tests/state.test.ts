import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { made } from "./trace";

const PAGE = "http://pages.example/ui/trace/1";

/** A root, a call with a child, and six calls alike that have one each. */
function spans() {
  const calls = Array.from({ length: 6 }, (_, at) => [
    { parent: 0, name: "SELECT" },
    { parent: 3 + at * 2, name: "read" },
  ]);
  return made([{ name: "root" }, { parent: 0, name: "call" }, { parent: 1 }, ...calls.flat()]);
}

/** The state of a page with these parameters, and what its address is once that has come to rest. */
async function opened(query = "", trace = spans()) {
  const location = { href: `${PAGE}${query}`, pathname: "/ui/trace/1" };
  const change = (_: unknown, __: string, url: URL) => (location.href = `${url}`);
  vi.stubGlobal("location", location);
  const pushState = vi.fn(change);
  vi.stubGlobal("history", { pushState, replaceState: change, state: null });
  vi.stubGlobal("addEventListener", () => {});
  const { TraceState } = await import("../src/trace/state");
  const { modelOf } = await import("../src/trace/model");
  const { shownRows } = await import("../src/trace/rows");
  const { setParams } = await import("../src/router");
  const state = new TraceState(modelOf(trace));
  const leave = state.follow();
  const rest = () => {
    vi.advanceTimersByTime(1_000);
    return location.href.slice(PAGE.length);
  };
  const { shape, runs } = state.model;
  return {
    state,
    rest,
    leave,
    setParams,
    steps: () => pushState.mock.calls.length,
    count: () => shownRows(shape.size, runs, state.folds.value).length,
  };
}

beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const id = (row: number) => (row + 1).toString(16).padStart(16, "0");

test("fold above what is selected stays, and a link shows the same", async () => {
  const { state, rest, count } = await opened();
  state.select(2);
  rest();
  state.toggleFold(0);
  const link = rest();
  expect([link, count(), state.row.value]).toEqual([`?span=${id(2)}&folded=${id(0)}`, 1, 2]);
  const other = await opened(link);
  expect([other.count(), other.state.row.value]).toEqual([1, 2]);
});

test("run that is closed around what is selected stays closed, and a plain link to a span opens it", async () => {
  const { state, rest, count } = await opened(`?span=${id(5)}`);
  const isOpen = count();
  expect(isOpen).toBe(16);
  state.toggleRun(3);
  const link = rest();
  expect([link, count()]).toEqual([`?span=${id(5)}&open=none`, 4]);
  const other = await opened(link);
  expect(other.count()).toBe(4);
  other.state.select(5);
  expect([other.rest(), other.count()]).toEqual([`?span=${id(5)}&open=${id(3)}`, isOpen]);
});

test("span of an address is found however its id is written", async () => {
  const trace = spans();
  trace.id[15] = 0xab;
  const { state } = await opened("?span=00000000000000AB", trace);
  expect(state.row.value).toBe(1);
});

test("all that is folded at once is one word of the address, however much it is", async () => {
  const many = Array.from({ length: 300 }, (_, at) => [{ parent: 0, name: `${at}` }, { parent: 1 + at * 2 }]);
  const trace = made([{ name: "root" }, ...many.flat()]);
  const { state, rest, count } = await opened("", trace);
  expect(count()).toBe(601);
  state.foldAll(true);
  const link = rest();
  expect([link, count()]).toEqual(["?folded=all", 301]);
  const other = await opened(link, trace);
  expect(other.count()).toBe(301);
  other.state.foldAll(false);
  expect([other.rest(), other.count()]).toEqual(["", 601]);
});

test.each([
  ["waterfall", ""],
  ["spans", ""],
  ["table", "?view=table"],
])("address that asks for the view %s is no step that one cannot go back from", async (view, link) => {
  const { state, rest, steps } = await opened(`?view=${view}`);
  expect([rest(), steps()]).toEqual([link, 0]);
  state.view.value = "flame";
  expect([rest(), steps()]).toEqual(["?view=flame", 1]);
});

test("what changed in the address while nothing followed it is taken from there", async () => {
  const { state, rest, leave, setParams } = await opened(`?span=${id(1)}`);
  rest();
  leave();
  setParams({ span: id(2), find: "call", view: "table" });
  state.follow();
  expect([state.row.value, state.find.value, state.view.value]).toEqual([2, "call", "table"]);
  expect(rest()).toBe(`?span=${id(2)}&find=call&view=table`);
});
