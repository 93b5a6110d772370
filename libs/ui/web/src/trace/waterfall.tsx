import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { rowHeight } from "../density";
import type { Details } from "./details";
import { Lines } from "./lines";
import { MARK_AFTER, type Marks, NO_MARKS, unmarked, withMarks } from "./marks";
import type { Found, Model } from "./model";
import { indexOf, marked, runStart, shownRows, withAncestors } from "./rows";
import { Ruler } from "./ruler";
import type { Skeleton } from "./skeleton";
import type { TraceState } from "./state";

/** Rows that are made above and below those in view. */
const MORE = 4;
/** Lines that are printed, from the first on. */
const PRINTED = 1_000;
/** Browsers end an element somewhere near 17 million pixels. */
const TALLEST = 8_000_000;

interface Props {
  model: Model;
  found: Found;
  state: TraceState;
  matches: Int32Array;
  details: Details;
}

/** Spans in time, one below the other: a table of which only the rows in view exist. */
export function Waterfall({ model, found, state, matches, details }: Props) {
  const { trace, shape, runs } = model;
  const folds = state.folds.value;
  const only = state.onlyMatches.value && state.find.value.trim() !== "";
  const wanted = useMemo(
    () => (only ? withAncestors(trace.parent, matches) : undefined),
    [only, trace, matches],
  );
  const matching = useMemo(
    () => (matches.length === 0 ? null : marked(trace.count, matches)),
    [trace, matches],
  );
  const shown = useMemo(() => shownRows(shape.size, runs, folds, wanted), [shape, runs, folds, wanted]);
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const lines = useRef<Lines | null>(null);
  const viewHeight = useSignal(600);
  const top = useSignal(0);

  const lineHeight = rowHeight();
  const total = shown.length * lineHeight;
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

  // Of very many lines a pixel of the bar is as many as there are: what is in view stays there.
  useLayoutEffect(() => {
    if (scroller.current) scroller.current.scrollTop = top.peek() / scale;
  }, [scale, top]);

  // What is selected is in view, unless somebody who scrolled away from it opens or folds something.
  const selected = state.row.value;
  const before = useRef({ selected: -1, folds, shown });
  useLayoutEffect(() => {
    const element = scroller.current;
    const last = before.current;
    before.current = { selected, folds, shown };
    if (!element || selected < 0) return;
    const was = indexOf(last.shown, selected) * lineHeight - top.peek();
    const isAway = was < 0 || was + lineHeight > viewHeight.peek();
    if (last.selected === selected && last.folds !== folds && isAway) return;
    const at = indexOf(shown, selected) * lineHeight;
    const from = element.scrollTop * scale;
    if (at < from || at + lineHeight > from + element.clientHeight)
      element.scrollTop = (at - element.clientHeight / 3) / scale;
    // In a narrow window the page scrolls as well.
    const drawn = requestAnimationFrame(() =>
      body.current?.querySelector(".selected")?.scrollIntoView({ block: "nearest" }),
    );
    return () => cancelAnimationFrame(drawn);
  }, [selected, folds, shown, scale, lineHeight]);

  // Where a pixel of the bar is many rows, the wheel goes on row by row.
  useEffect(() => {
    const element = scroller.current;
    if (!element || scale === 1) return;
    const wheel = (event: WheelEvent) => {
      if (event.ctrlKey || event.deltaY === 0) return;
      event.preventDefault();
      const unit = event.deltaMode === 1 ? lineHeight : event.deltaMode === 2 ? element.clientHeight : 1;
      const next = Math.min(Math.max(0, top.value + event.deltaY * unit), total - element.clientHeight);
      element.scrollTop = next / scale;
      top.value = next;
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [scale, total, top, lineHeight]);

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
    const page = Math.max(1, Math.floor(viewHeight.value / lineHeight) - 1);
    // The span of the line, which may be one that hides what is selected.
    const line = index < 0 ? 0 : shown[index];
    const row = index < 0 ? -1 : line < 0 ? ~line : line;
    const isFolded = folds.folded.has(row);
    const hasChildren = line >= 0 && shape.size[row] > 1;
    const actions: Record<string, () => void> = {
      ArrowDown: () => move(nextIndex(shown, index, 1)),
      ArrowUp: () => move(nextIndex(shown, index, -1)),
      PageDown: () => move(index + page),
      PageUp: () => move(index - page),
      Home: () => move(0),
      End: () => move(shown.length - 1),
      ArrowRight: () => {
        if (line < 0 && !folds.open.has(~line)) state.toggleRun(~line);
        else if (isFolded) state.toggleFold(row);
        else if (hasChildren) move(nextIndex(shown, index, 1));
      },
      ArrowLeft: () => {
        if (row < 0) return;
        const run = wanted ? -1 : runStart(trace, runs, shape.size, row);
        if (hasChildren && !isFolded) state.toggleFold(row);
        else if (folds.open.has(run)) state.toggleRun(run);
        else if (trace.parent[row] >= 0) state.row.value = trace.parent[row];
      },
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  const first = Math.max(0, Math.floor(top.value / lineHeight) - MORE);
  const count = Math.ceil(viewHeight.value / lineHeight) + 2 * MORE;
  const last = Math.min(shown.length, first + count);
  const offset = scale === 1 ? 0 : top.value / scale - top.value;
  const window = state.window.value;
  const marks = useMarks(trace, details, shown.subarray(first, last), selected);
  const content = {
    model,
    found,
    window,
    folds,
    matching,
    matches,
    marks,
    shown,
    selected,
    height: lineHeight,
  };
  useLayoutEffect(() => {
    if (!body.current) return;
    lines.current ??= new Lines(body.current);
    lines.current.show(content, first, last, count, offset);
    // A page of paper does not scroll.
    const print = () => {
      const printed = Math.min(shown.length, PRINTED);
      lines.current?.show(content, 0, printed, printed, 0);
    };
    const printed = () => lines.current?.show(content, first, last, count, offset);
    addEventListener("beforeprint", print);
    addEventListener("afterprint", printed);
    return () => {
      removeEventListener("beforeprint", print);
      removeEventListener("afterprint", printed);
    };
  });

  /** The line that an event happened on, and whether on what folds it. */
  const hit = (event: Event): { line: number; onFold: boolean } | null => {
    const target = event.target as Element;
    const at = target.closest<HTMLElement>(".span-row")?.dataset.at;
    if (at === undefined || Number(at) >= shown.length) return null;
    return { line: shown[Number(at)], onFold: target.closest(".fold") !== null };
  };
  const click = (event: Event) => {
    const found = hit(event);
    if (!found) return;
    if (found.line < 0) state.toggleRun(~found.line);
    else if (found.onFold && shape.size[found.line] > 1) state.toggleFold(found.line);
    else state.row.value = found.line;
  };
  const fit = (event: Event) => {
    const found = hit(event);
    if (found && found.line >= 0 && !found.onFold) state.fit(found.line);
  };
  return (
    <>
      <Ruler state={state} />
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
        <div ref={body} role="rowgroup" style={{ height: `${height}px` }} onClick={click} onDblClick={fit} />
      </div>
    </>
  );
}

/** When the events of spans in view happened, as far as that is known. */
function useMarks(trace: Skeleton, details: Details, lines: Int32Array, selected: number): Marks {
  const [marks, setMarks] = useState(NO_MARKS);
  const rows = [...lines].filter((line) => line >= 0);
  const wanted = unmarked(trace, rows, selected, marks).join();
  useEffect(() => {
    if (wanted === "") return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      withMarks(trace, details, wanted.split(",").map(Number), marks, stop.signal).then(
        (found) => !stop.signal.aborted && setMarks(found),
        // What failed is told where somebody selects the span.
        () => {},
      );
    }, MARK_AFTER);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [trace, details, wanted]);
  return marks;
}

/** The next line that is another span: the line of a run stands for its first. */
function nextIndex(shown: Int32Array, index: number, by: 1 | -1): number {
  if (index < 0) return 0;
  const row = (line: number) => (line < 0 ? ~line : line);
  let next = index + by;
  while (next > 0 && next < shown.length - 1 && row(shown[next]) === row(shown[index])) next += by;
  return next;
}
