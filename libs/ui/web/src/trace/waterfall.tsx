import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { duration, integer } from "../format";
import { look } from "../looks";
import { Chip } from "../search/results";
import { visible } from "../text";
import { type Found, type Model, nameOf, serviceOf } from "./model";
import { indexOf, type Run, shownRows, withAncestors } from "./rows";
import { isError } from "./skeleton";
import type { Span, TraceState } from "./state";

const HEIGHT = 24;
/** Rows that are made above and below those in view. */
const MORE = 8;
/** Browsers end an element somewhere near 17 million pixels. */
const TALLEST = 8_000_000;
const INDENT = 12;
const DEEPEST_INDENT = 20;

interface Props {
  model: Model;
  found: Found;
  state: TraceState;
  matches: readonly number[];
}

/** Lines that are shown, by their place, and what they were made of. */
interface Lines {
  looks: unknown[];
  lines: ReadonlyMap<number, VNode>;
}

/** Spans in time, one below the other: a table of which only the rows in view exist. */
export function Waterfall({ model, found, state, matches }: Props) {
  const { trace, shape, runs } = model;
  const folds = state.folds.value;
  const only = state.onlyMatches.value && state.find.value.trim() !== "";
  const wanted = useMemo(
    () => (only ? withAncestors(trace.parent, matches) : undefined),
    [only, trace, matches],
  );
  const matching = useMemo(() => new Set(matches), [matches]);
  const shown = useMemo(() => shownRows(shape.size, runs, folds, wanted), [shape, runs, folds, wanted]);
  const scroller = useRef<HTMLDivElement>(null);
  const viewHeight = useSignal(600);
  const top = useSignal(0);

  const total = shown.length * HEIGHT;
  const height = Math.min(total, TALLEST);
  const room = Math.max(1, height - viewHeight.value);
  const scale = height < total ? (total - viewHeight.value) / room : 1;

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      viewHeight.value = element.clientHeight;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [viewHeight]);

  // What is selected is in view.
  const selected = state.row.value;
  useEffect(() => {
    const element = scroller.current;
    if (!element || selected < 0) return;
    const at = indexOf(shown, selected) * HEIGHT;
    const from = element.scrollTop * scale;
    if (at >= from && at + HEIGHT <= from + element.clientHeight) return;
    element.scrollTop = (at - element.clientHeight / 3) / scale;
  }, [selected, shown, scale]);

  // Where a pixel of the bar is many rows, the wheel goes on row by row.
  useEffect(() => {
    const element = scroller.current;
    if (!element || scale === 1) return;
    const wheel = (event: WheelEvent) => {
      if (event.ctrlKey || event.deltaY === 0) return;
      event.preventDefault();
      const unit = event.deltaMode === 1 ? HEIGHT : event.deltaMode === 2 ? element.clientHeight : 1;
      const next = Math.min(Math.max(0, top.value + event.deltaY * unit), total - element.clientHeight);
      element.scrollTop = next / scale;
      top.value = next;
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [scale, total, top]);

  const scroll = () => {
    const element = scroller.current;
    if (!element) return;
    const next = element.scrollTop * scale;
    // A wheel step that is smaller than a pixel of the bar has been taken already.
    if (Math.abs(next - top.value) >= scale) top.value = next;
  };

  const index = selected < 0 ? -1 : indexOf(shown, selected);
  const move = (to: number) => {
    if (shown.length === 0) return;
    const at = shown[Math.min(shown.length - 1, Math.max(0, to))];
    state.row.value = at < 0 ? ~at : at;
  };
  const press = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(viewHeight.value / HEIGHT) - 1);
    const isFolded = folds.folded.has(selected);
    const actions: Record<string, () => void> = {
      ArrowDown: () => move(nextIndex(shown, index, 1)),
      ArrowUp: () => move(nextIndex(shown, index, -1)),
      PageDown: () => move(index + page),
      PageUp: () => move(index - page),
      Home: () => move(0),
      End: () => move(shown.length - 1),
      ArrowRight: () => {
        const line = index < 0 ? 0 : shown[index];
        if (line < 0 && !folds.open.has(~line)) state.toggleRun(~line);
        else if (isFolded) state.toggleFold(selected);
        else if (selected >= 0 && shape.size[selected] > 1) move(nextIndex(shown, index, 1));
      },
      ArrowLeft: () => {
        if (selected < 0) return;
        if (shape.size[selected] > 1 && !isFolded) state.toggleFold(selected);
        else if (trace.parent[selected] >= 0) state.row.value = trace.parent[selected];
      },
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  const first = Math.max(0, Math.floor(top.value / HEIGHT) - MORE);
  const count = Math.ceil(viewHeight.value / HEIGHT) + 2 * MORE;
  const last = Math.min(shown.length, first + count);
  const offset = scale === 1 ? 0 : top.value / scale - top.value;
  const window = state.window.value;
  // A line that was shown before and looks the same is the same object, which is not gone through again.
  const before = useRef<Lines>({ looks: [], lines: new Map() });
  const looks = [model, state, found, window, folds, matching, shown, selected, offset, count];
  const isSame = looks.every((look, at) => look === before.current.looks[at]);
  const known = isSame ? before.current.lines : new Map<number, VNode>();
  const lines: VNode[] = [];
  const kept = new Map<number, VNode>();
  for (let at = first; at < last; at += 1) {
    const line = shown[at];
    const common = { at, model, state, window, y: at * HEIGHT + offset };
    const run = line < 0 ? runs.get(~line) : undefined;
    // Keys go round, so that elements are used again for other rows.
    const made =
      known.get(at) ??
      (run ? (
        <RunRow key={at % count} {...common} row={~line} run={run} isOpen={folds.open.has(~line)} />
      ) : (
        <SpanRow
          key={at % count}
          {...common}
          row={line}
          found={found}
          isFolded={folds.folded.has(line)}
          isMatch={matching.has(line)}
          isSelected={line === selected}
        />
      ));
    kept.set(at, made);
    lines.push(made);
  }
  before.current = { looks, lines: kept };
  return (
    <>
      <Ruler window={state.window.value} />
      <div
        ref={scroller}
        class="rows"
        style={{ "--lines": shown.length }}
        role="treegrid"
        aria-label="Spans"
        aria-rowcount={shown.length}
        aria-activedescendant={index >= first && index < last ? `row-${index}` : undefined}
        tabIndex={0}
        onScroll={scroll}
        onKeyDown={press}
      >
        <div role="rowgroup" style={{ height: `${height}px` }}>
          {lines}
        </div>
      </div>
    </>
  );
}

/** The next line that is another span: the line of a run stands for its first. */
function nextIndex(shown: Int32Array, index: number, by: 1 | -1): number {
  if (index < 0) return 0;
  const row = (line: number) => (line < 0 ? ~line : line);
  let next = index + by;
  while (next > 0 && next < shown.length - 1 && row(shown[next]) === row(shown[index])) next += by;
  return next;
}

function Ruler({ window: { from, to } }: { window: Span }) {
  const shares = [0, 0.2, 0.4, 0.6, 0.8];
  return (
    <div class="ruler" aria-hidden="true">
      <span>Service and operation</span>
      <span class="ticks">
        {shares.map((share) => (
          <span key={share} style={{ left: `${share * 100}%` }}>
            {duration(from + share * (to - from))}
          </span>
        ))}
      </span>
      <span class="number">{duration(to)}</span>
    </div>
  );
}

interface Line {
  at: number;
  y: number;
  row: number;
  model: Model;
  state: TraceState;
  window: Span;
}

/** Left and width of a bar as shares of what is shown; null if it is outside. */
export function place(
  start: number,
  length: number,
  { from, to }: Span,
): { left: string; width: string } | null {
  const end = start + Math.max(0, length);
  if (end < from || start > to) return null;
  const share = (time: number) => ((Math.min(to, Math.max(from, time)) - from) / (to - from)) * 100;
  return { left: `min(${share(start)}%, 100% - 2px)`, width: `${share(end) - share(start)}%` };
}

function indent({ shape }: Model, row: number) {
  return { paddingInlineStart: `${Math.min(DEEPEST_INDENT, shape.depth[row]) * INDENT}px` };
}

interface SpanLine extends Line {
  found: Found;
  isFolded: boolean;
  isMatch: boolean;
  isSelected: boolean;
}

function SpanRow({ at, y, row, model, state, window, found, isFolded, isMatch, isSelected }: SpanLine) {
  const { trace, shape } = model;
  const hasChildren = shape.size[row] > 1;
  const service = serviceOf(trace, row);
  const bar = place(trace.start[row], trace.duration[row], window);
  const isCritical = found !== null && found.critical[row] > 0;
  const isRetry = found !== null && found.retry[row] === 1;
  return (
    <div
      id={`row-${at}`}
      role="row"
      class={`span-row${isMatch ? " match" : ""}${isSelected ? " selected" : ""}`}
      aria-rowindex={at + 1}
      aria-level={shape.depth[row] + 1}
      aria-expanded={hasChildren ? !isFolded : undefined}
      aria-selected={isSelected}
      style={{ transform: `translateY(${y}px)` }}
      onClick={() => (state.row.value = row)}
      onDblClick={() => state.fit(row)}
    >
      <span role="gridcell" class="name" style={indent(model, row)}>
        {hasChildren ? (
          <button
            type="button"
            class="fold"
            tabIndex={-1}
            aria-label={isFolded ? "open" : "fold"}
            onClick={(event) => {
              event.stopPropagation();
              state.toggleFold(row);
            }}
          >
            {isFolded ? "▸" : "▾"}
          </button>
        ) : (
          <span class="fold" />
        )}
        <Chip name={service} />{" "}
        {isError(trace, row) && (
          <span class="error" role="img" aria-label="error">
            ✕{" "}
          </span>
        )}
        {isRetry && (
          <span class="warning" role="img" aria-label="retry" title="Tried again after a failure">
            ↻{" "}
          </span>
        )}
        {isMatch && (
          <span class="warning" role="img" aria-label="match">
            ●{" "}
          </span>
        )}
        <bdi>{visible(nameOf(trace, row).slice(0, 200))}</bdi>
        {isFolded && <span class="muted"> +{integer(shape.size[row] - 1)}</span>}
      </span>
      <span role="gridcell" class="time">
        {bar && <span class={`bar-of-span ${look(service)}${isCritical ? " critical" : ""}`} style={bar} />}
      </span>
      <span role="gridcell" class="number">
        {duration(trace.duration[row])}
      </span>
    </div>
  );
}

/** One line for many siblings alike. */
function RunRow({ at, y, row, run, isOpen, model, state, window }: Line & { run: Run; isOpen: boolean }) {
  const { trace, shape } = model;
  const service = serviceOf(trace, row);
  const bar = place(run.from, run.to - run.from, window);
  const range = `${duration(run.shortest)} – ${duration(run.longest)}`;
  return (
    <div
      id={`row-${at}`}
      role="row"
      class="span-row"
      aria-rowindex={at + 1}
      aria-level={shape.depth[row] + 1}
      aria-expanded={isOpen}
      style={{ transform: `translateY(${y}px)` }}
      onClick={() => state.toggleRun(row)}
    >
      <span role="gridcell" class="name" style={indent(model, row)}>
        <span class="fold">{isOpen ? "▾" : "▸"}</span>
        <Chip name={service} />{" "}
        {run.errors > 0 && (
          <span class="error" title="failed">
            ✕{integer(run.errors)}{" "}
          </span>
        )}
        <strong>×{integer(run.count)}</strong> <bdi>{visible(nameOf(trace, row).slice(0, 200))}</bdi>{" "}
        <span class="muted">{range}</span>
      </span>
      <span role="gridcell" class="time">
        {bar && <span class={`bar-of-span group ${look(service)}`} style={bar} />}
      </span>
      <span role="gridcell" class="number">
        {duration(run.to - run.from)}
      </span>
    </div>
  );
}
