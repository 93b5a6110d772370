import { afterEach, expect, test, vi } from "vitest";
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

/** What the bar of each line is, from top to bottom. */
function bars(waited: number[]): string[] {
  const trace = made([{ name: "root" }, ...Array.from({ length: 6 }, () => ({ parent: 0, name: "SELECT" }))]);
  const model = modelOf(trace);
  const folds = { folded: new Set<number>(), open: new Set<number>() };
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
    selected: -1,
    height: 24,
  };
  const parent = new Plain();
  new Lines(parent as unknown as HTMLElement).show(content, 0, shown.length, shown.length, 0);
  const all = (element: Plain): Plain[] => [element, ...(element.children ?? []).flatMap(all)];
  return all(parent)
    .map(({ className }) => className)
    .filter((name) => name?.startsWith("bar-of-span"));
}

test("run of calls is marked if the trace waited for one of them", () => {
  vi.stubGlobal("document", { createElement: () => new Plain(), createTextNode: () => new Plain() });
  expect(bars([0, 4])[1]).toContain("group critical");
  expect(bars([0])[1]).toMatch(/group$/);
});
