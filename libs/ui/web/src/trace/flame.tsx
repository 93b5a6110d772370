import { useMemo } from "preact/hooks";
import { counted, duration, integer } from "../format";
import { look, monogram } from "../looks";
import { cut, named, visible } from "../names";
import type { Times } from "./analysis";
import type { Model } from "./model";
import { type Path, pathOf, pathsOf } from "./paths";
import type { TraceState } from "./state";

const HEIGHT = 22;
/** Boxes narrower than this share of the width are not drawn; what they take is told. */
const NARROWEST = 0.001;
const DEEPEST = 200;
/** Boxes narrower than this share have no room for more than their colour. */
const WITH_SWATCH = 0.02;

interface Box {
  path: Path;
  depth: number;
  left: number;
  width: number;
}

/** Boxes of a tree, the widest first within their parent; a child is as wide as its share of own time. */
export function boxes(root: Path): { all: Box[]; hidden: number; deeper: number } {
  const all: Box[] = [];
  let hidden = 0;
  let deeper = 0;
  const waiting: Box[] = [{ path: root, depth: 0, left: 0, width: 1 }];
  for (let box = waiting.pop(); box; box = waiting.pop()) {
    all.push(box);
    let left = box.left;
    for (const path of [...box.path.children.values()].sort((a, b) => b.weight - a.weight)) {
      const width = root.weight > 0 ? path.weight / root.weight : 0;
      if (width < NARROWEST) hidden += 1;
      else if (box.depth >= DEEPEST) deeper += 1;
      else waiting.push({ path, depth: box.depth + 1, left, width });
      left += width;
    }
  }
  return { all, hidden, deeper };
}

/** Where time goes: the same calls of the same callers in one box, as wide as their own time and that of all below. */
export function Flame({ model, times, state }: { model: Model; times: Times; state: TraceState }) {
  const { trace } = model;
  const whole = useMemo(() => pathsOf(trace, times.self), [trace, times]);
  const within = state.within.value;
  const focus = useMemo(() => (within < 0 ? null : pathOf(whole, trace, within)), [whole, trace, within]);
  const { all, hidden, deeper } = useMemo(() => boxes(focus ?? whole), [focus, whole]);
  const depth = Math.max(...all.map((box) => box.depth)) + 1;
  return (
    <div class="flame">
      <div class="tools">
        <span class="muted">
          Width is own time, the same calls added up.
          {hidden > 0 && ` ${counted(hidden, "call")} too narrow to be drawn.`}
          {deeper > 0 && ` What is below ${DEEPEST} calls is drawn when you choose one of them.`}
        </span>
        {focus && (
          <button type="button" onClick={() => (state.within.value = -1)}>
            Show the whole trace
          </button>
        )}
      </div>
      <div class="boxes" style={{ height: `${depth * HEIGHT}px` }}>
        {all.map(({ path, depth, left, width }) => {
          const isRoot = path === whole;
          const label = isRoot ? "whole trace" : `${path.service} ${path.name}`;
          const times = isRoot ? "" : ` ×${integer(path.calls)}`;
          return (
            <button
              key={`${depth} ${left} ${label}`}
              type="button"
              class={isRoot ? "box" : `box ${look(path.service).split(" ")[0]}`}
              title={`${visible(cut(label, 2048))}${times}: ${duration(path.weight)}, ${duration(path.self)} self time`}
              style={{ top: `${depth * HEIGHT}px`, left: `${left * 100}%`, width: `${width * 100}%` }}
              onClick={() => {
                state.within.value = isRoot ? -1 : path.longest;
                if (path.longest >= 0) state.select(path.longest);
              }}
            >
              {!isRoot && width > WITH_SWATCH && <span class={`swatch ${look(path.service)}`} />}
              {!isRoot && <span class="mono">{monogram(path.service)}</span>}{" "}
              <bdi>{visible(isRoot ? label : named(path.name))}</bdi>
              {times} · {duration(path.weight)}
              {path.errors > 0 && <span class="error"> ✕</span>}
            </button>
          );
        })}
      </div>
    </div>
  );
}
