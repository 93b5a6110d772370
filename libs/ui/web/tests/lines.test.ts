import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { times } from "../src/trace/analysis";
import { type Content, Lines } from "../src/trace/lines";
import { modelOf } from "../src/trace/model";
import { NO_ROWS, shownRows } from "../src/trace/rows";
import { made } from "./trace";

/** As much of an element as lines need. */
class Plain {
  className = "";
  textContent = "";
  readonly style = {};
  readonly dataset = {};
  children: Plain[] = [];
  setAttribute() {}
  removeAttribute() {}
  append(...children: Plain[]) {
    this.children.push(...children);
  }
  replaceChildren(...children: Plain[]) {
    this.children = children;
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The classes of elements whose class begins so, from top to bottom. */
function classes(
  prefix: string,
  { waited = [] as number[], selected = -1, open = [] as number[] },
): string[] {
  const trace = made([{ name: "root" }, ...Array.from({ length: 6 }, () => ({ parent: 0, name: "SELECT" }))]);
  const model = modelOf(trace);
  const folds = { folded: new Set<number>(), open: new Set(open) };
  const shown = shownRows(model.shape.size, model.runs, folds);
  const content: Content = {
    model,
    found: { ...times(trace), findings: [], errors: NO_ROWS, waited: Int32Array.from(waited) },
    window: { from: 0, to: model.extent },
    folds,
    matching: null,
    matches: NO_ROWS,
    marks: new Map(),
    shown,
    selected,
    height: 24,
  };
  const parent = new Plain();
  new Lines(parent as unknown as HTMLElement).show(content, 0, shown.length, shown.length, 0);
  const all = (element: Plain): Plain[] => [element, ...(element.children ?? []).flatMap(all)];
  return all(parent)
    .map(({ className }) => className)
    .filter((name) => name?.startsWith(prefix));
}

beforeEach(() => {
  vi.stubGlobal("document", { createElement: () => new Plain(), createTextNode: () => new Plain() });
});

test("run of calls is marked if the trace waited for one of them", () => {
  const bars = (waited: number[]) => classes("bar-of-span", { waited });
  expect(bars([0, 4])[1]).toContain("group critical");
  expect(bars([0])[1]).toMatch(/group$/);
});

test("line of a run is selected while it hides the span that is", () => {
  const lines = (selected: number, open: number[] = []) => classes("span-row", { selected, open });
  for (const row of [1, 4, 6]) expect(lines(row)).toEqual(["span-row", "span-row selected"]);
  expect(lines(0)).toEqual(["span-row selected", "span-row"]);
  expect(lines(1, [1]).slice(0, 3)).toEqual(["span-row", "span-row", "span-row selected"]);
});
