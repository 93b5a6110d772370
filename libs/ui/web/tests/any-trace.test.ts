import fc from "fast-check";
import { expect, test } from "vitest";
import { align, flatten } from "../src/compare/align";
import { against, type Typical, typicalPaths } from "../src/trace/against";
import { shape, times } from "../src/trace/analysis";
import { corrected } from "../src/trace/clocks";
import { beside, computed, differing } from "../src/trace/computed";
import { flame } from "../src/trace/flame-boxes";
import { modelOf } from "../src/trace/model";
import { operationsOf, type Path, pathOf, pathsOf } from "../src/trace/paths";
import { indexOf, Runs, revealed, shownRows, withAncestors } from "../src/trace/rows";
import { extent, rowOf, type Skeleton, spanId } from "../src/trace/skeleton";
import { anyTrace, rowsBelow } from "./any";

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

/** Units of time of a span, as long as none is shorter. */
function units({ start, duration }: Skeleton, row: number): number[] {
  return Array.from({ length: Math.max(0, duration[row]) }, (_, at) => start[row] + at);
}

test("self time is what no child covers", () => {
  fc.assert(
    fc.property(anyTrace, (trace) => {
      const { self } = times(trace);
      for (let row = 0; row < trace.count; row += 1) {
        const covered = new Set(rowsBelow(trace, row).flatMap((child) => units(trace, child)));
        expect(self[row]).toBe(units(trace, row).filter((at) => !covered.has(at)).length);
      }
    }),
  );
});

test("critical path is as long as the longest root, and each span has no more of it than its length", () => {
  fc.assert(
    fc.property(anyTrace, (trace) => {
      const { critical } = times(trace);
      const longest = Math.max(0, ...rowsBelow(trace, -1).map((row) => trace.duration[row]));
      expect(sum(critical)).toBe(longest);
      for (let row = 0; row < trace.count; row += 1) {
        expect(critical[row]).toBeLessThanOrEqual(Math.max(0, trace.duration[row]));
      }
    }),
  );
});

const folds = fc.record({ folded: fc.uniqueArray(fc.nat(39)), open: fc.uniqueArray(fc.nat(39)) });

test("each span is shown once, or a line above it hides it", () => {
  fc.assert(
    fc.property(anyTrace, folds, fc.nat(), (trace, { folded, open }, chosen) => {
      const { size } = shape(trace.parent);
      const runs = new Runs(trace, size);
      const state = { folded: new Set(folded), open: new Set(open) };
      const shown = [...shownRows(size, runs, state)];
      expect(new Set(shown).size).toBe(shown.length);
      const hides = (line: number, row: number) => {
        if (line < 0) return !state.open.has(~line) && row >= ~line && row < (runs.at(~line)?.end ?? 0);
        return state.folded.has(line) && row > line && row < line + size[line];
      };
      for (let row = 0; row < trace.count; row += 1) {
        const isHidden = shown.some((line) => hides(line, row));
        expect(shown.includes(row)).toBe(!isHidden);
        const at = shown[indexOf(Int32Array.from(shown), row)];
        expect(at === row || hides(at, row)).toBe(true);
      }
      const row = chosen % trace.count;
      const seen = shownRows(size, runs, revealed(trace, runs, size, state, row));
      expect(seen[indexOf(seen, row)]).toBe(row);
    }),
  );
});

test("runs are of siblings alike", () => {
  fc.assert(
    fc.property(anyTrace, (trace) => {
      const { size } = shape(trace.parent);
      const runs = new Runs(trace, size);
      let count = 0;
      for (let row = 0; row < trace.count; row += 1) {
        const run = runs.at(row);
        if (!run) continue;
        count += 1;
        const alike = rowsBelow(trace, trace.parent[row]).filter((one) => one >= row && one < run.end);
        expect(run.count).toBe(alike.length);
        for (const one of alike) {
          expect([trace.name[one], trace.service[one]]).toEqual([trace.name[row], trace.service[row]]);
          expect(trace.start[one]).toBeGreaterThanOrEqual(run.from);
          expect(trace.start[one] + trace.duration[one]).toBeLessThanOrEqual(run.to);
        }
        expect(run.to).toBeGreaterThanOrEqual(run.from);
      }
      expect(runs.count).toBe(count);
    }),
  );
});

test("matches are shown with what is above them, and nothing else", () => {
  fc.assert(
    fc.property(anyTrace, fc.uniqueArray(fc.nat(39)), (trace, some) => {
      const rows = some.filter((row) => row < trace.count).sort((a, b) => a - b);
      const { size } = shape(trace.parent);
      const wanted = withAncestors(trace.parent, Int32Array.from(rows));
      const shown = [
        ...shownRows(size, new Runs(trace, size), { folded: new Set(), open: new Set() }, wanted),
      ];
      expect(shown).toEqual(
        [...trace.parent.keys()].filter((row) =>
          rows.some((match) => match >= row && match < row + size[row]),
        ),
      );
    }),
  );
});

function all(root: Path): Path[] {
  return [...root.children.values()].flatMap((path) => [path, ...all(path)]);
}

test("paths have each call once, and weigh as much as what is in them", () => {
  fc.assert(
    fc.property(anyTrace, (trace) => {
      const { self } = times(trace);
      const root = pathsOf(trace, self);
      const paths = all(root);
      expect(sum(paths.map(({ calls }) => calls))).toBe(trace.count);
      expect(sum(paths.map((path) => path.self))).toBe(sum(self));
      expect(root.weight).toBe(sum(self));
      for (const path of [root, ...paths]) {
        expect(path.weight).toBe(path.self + sum([...path.children.values()].map(({ weight }) => weight)));
      }
      for (let row = 0; row < trace.count; row += 1) {
        const path = pathOf(root, trace, row);
        expect(path?.name).toBe(trace.names[trace.name[row]]);
      }
      const operations = operationsOf(trace, self);
      expect(sum(operations.map(({ calls }) => calls))).toBe(trace.count);
      expect(sum(operations.map((path) => path.self))).toBe(sum(self));
    }),
  );
});

test("boxes of a flame graph lie side by side within the box above them", () => {
  fc.assert(
    fc.property(anyTrace, (trace) => {
      const { boxes, hidden, deeper, depth } = flame(pathsOf(trace, times(trace).self));
      expect(boxes.length + hidden + deeper).toBeGreaterThan(0);
      expect(Math.max(...boxes.map((box) => box.depth))).toBe(depth - 1);
      const at = (level: number) =>
        boxes.filter((box) => box.depth === level).sort((one, other) => one.left - other.left);
      for (let level = 0; level < depth; level += 1) {
        const line = at(level);
        line.forEach((box, place) => {
          expect(box.width).toBeGreaterThan(0);
          expect(box.left + box.width).toBeLessThanOrEqual((line[place + 1]?.left ?? 1) + 1e-9);
          if (level === 0) return;
          const isWithin = at(level - 1).some(
            (above) =>
              above.left <= box.left + 1e-9 && above.left + above.width >= box.left + box.width - 1e-9,
          );
          expect(isWithin).toBe(true);
        });
      }
    }),
  );
});

test("two traces are compared call by call, and a trace with itself has no difference", () => {
  fc.assert(
    fc.property(anyTrace, anyTrace, (one, other) => {
      const [a, b] = [one, other].map((trace) => pathsOf(trace, times(trace).self));
      const { pairs, hidden } = flatten(align(a, b), 1_000);
      expect(hidden).toBe(0);
      expect(sum(pairs.map(({ a }) => a?.calls ?? 0))).toBe(one.count);
      expect(sum(pairs.map(({ b }) => b?.calls ?? 0))).toBe(other.count);
      expect(flatten(align(a, a), 1_000).pairs.every(({ change }) => change === 0)).toBe(true);
    }),
  );
});

/** What would be typical if all traces were as this one. */
function typicalOf(trace: Skeleton, paths: Path): Typical {
  const found: Typical["paths"] = [];
  const add = (path: Path, parent: number | null) => {
    for (const below of path.children.values()) {
      const { service, name, calls, errors, total, self } = below;
      const place = found.push({
        parent,
        service,
        name,
        traces: 3,
        calls: calls * 3,
        errors: errors * 3,
        p50: total,
        p95: total,
        selfP50: self,
      });
      add(below, place - 1);
    }
  };
  add(paths, null);
  const whole = Math.max(1, extent(trace));
  return { traces: 3, inspectedBytes: 0, duration: { p50: whole, p95: whole }, paths: found };
}

test("a trace beside those that are as it is does not differ from them", () => {
  fc.assert(
    fc.property(anyTrace, anyTrace, (trace, other) => {
      const paths = pathsOf(trace, times(trace).self);
      const typical = typicalOf(trace, paths);
      expect(against(paths, typical).every(({ more, path, usual }) => more === 0 && path && usual)).toBe(
        true,
      );
      expect(beside(trace, paths, typical)?.text).toMatch(/^no slower than the median/);
      expect(typicalPaths(typical).weight).toBe(paths.weight);
      const others = typicalOf(other, pathsOf(other, times(other).self));
      const { rows, hidden } = differing(paths, others);
      expect(rows.length + hidden).toBeGreaterThanOrEqual(1);
      const finding = beside(trace, paths, others);
      expect(finding?.text).not.toMatch(/NaN|undefined|Infinity|-\d/);
      expect(finding?.row).toBeLessThan(trace.count);
    }),
  );
});

test("trace with clocks put right is one that can be shown", () => {
  fc.assert(
    fc.property(anyTrace, (sent) => {
      const { trace, moved } = corrected(sent);
      expect(sum(trace.duration)).toBe(sum(sent.duration));
      for (let row = 0; row < trace.count; row += 1) {
        expect(trace.start[row]).toBeGreaterThanOrEqual(-0.5);
        const old = rowOf(sent, spanId(trace, row));
        expect(sent.duration[old]).toBe(trace.duration[row]);
        expect(trace.places?.[old] ?? row).toBe(row);
        if (trace.parent[row] < 0) continue;
        const siblings = rowsBelow(trace, trace.parent[row]);
        const place = siblings.indexOf(row);
        if (place > 0) expect(trace.start[row]).toBeGreaterThanOrEqual(trace.start[siblings[place - 1]]);
      }
      const again = corrected(trace);
      expect(again.moved.spans).toBe(0);
      expect(moved.spans).toBeLessThan(sent.count);
      const { findings, errors, waited } = computed(trace, shape(trace.parent).size);
      for (const { text, row } of findings) {
        expect(text).not.toMatch(/NaN|undefined|Infinity|-\d/);
        expect(row).toBeGreaterThanOrEqual(0);
      }
      expect(errors.length + waited.length).toBeLessThanOrEqual(2 * trace.count);
      const model = modelOf(trace);
      expect(model.errors).toBe(errors.length);
    }),
  );
});
