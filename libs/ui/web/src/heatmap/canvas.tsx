import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { time } from "../format";
import type { Range } from "../range";
import { isDark } from "../theme";
import { useWidth } from "../width";
import { type Box, boundsOf, type Place } from "./grid";

interface Props {
  /** By line, from below, and column. NaN is drawn as nothing, and so is 0 if it is the least. */
  cells: number[][];
  /** Of a line, in pixels. */
  lineHeight: number;
  label: string;
  range: Range;
  /** What stands beside the lines. */
  scale: ComponentChildren;
  box: Box | null;
  /** What is told of the cell below the pointer. */
  tell?(place: Place): string;
  /** Told of a box while it is drawn. */
  draw(box: Box | null): void;
  /** Told of a box that is drawn. */
  drawn?(box: Box): void;
  /** The canvas, for a picture of it. */
  ready?(canvas: HTMLCanvasElement): void;
}

/** Columns and lines that a key goes. */
const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

/** Cells of one colour, the darker the more. Dragging draws a box. */
export function HeatCanvas({ cells, lineHeight, label, range, scale, box, tell, draw, drawn, ready }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const area = useRef<HTMLDivElement>(null);
  const width = useWidth(area);
  const [isDrawing, setDrawing] = useState(false);
  const [pointed, setPointed] = useState<Place | null>(null);
  const dark = isDark();
  const lines = cells.length;
  const columns = cells[0]?.length ?? 1;
  const height = lines * lineHeight;
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || width === 0) return;
    ready?.(element);
    const scale = devicePixelRatio;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(element).getPropertyValue("--accent");
    const { least, most } = boundsOf(cells);
    cells.forEach((line, at) => {
      const top = (lines - 1 - at) * lineHeight;
      line.forEach((value, column) => {
        if (Number.isNaN(value) || (value === 0 && least === 0)) return;
        const left = Math.floor((column / columns) * width);
        const right = Math.floor(((column + 1) / columns) * width);
        context.globalAlpha = 0.2 + 0.8 * (Math.log1p(value - least) / Math.log1p(most - least));
        context.fillRect(left, top, Math.max(1, right - left), lineHeight);
      });
    });
  }, [cells, width, height, dark]);

  const place = (event: PointerEvent): Place => {
    const box = area.current?.getBoundingClientRect() ?? new DOMRect(0, 0, 1, 1);
    const within = (share: number, count: number) =>
      Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return {
      column: within((event.clientX - box.left) / box.width, columns),
      line: lines - 1 - within((event.clientY - box.top) / box.height, lines),
    };
  };
  // Arrows move the box, or with Shift the corner that was drawn last.
  const press = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return draw(null);
    if (event.key === "Enter" && box) return drawn?.(box);
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const within = (place: number, count: number) => Math.min(count - 1, Math.max(0, place));
    const moved = ({ column, line }: Place): Place => ({
      column: within(column + step[0], columns),
      line: within(line + step[1], lines),
    });
    const start: Place = { column: columns - 1, line: lines - 1 };
    const next: Box = box ? [event.shiftKey ? box[0] : moved(box[1]), moved(box[1])] : [start, start];
    draw(next);
  };
  const share = (count: number, of: number) => `${(count / of) * 100}%`;
  return (
    <>
      <div class="with-scale">
        {scale}
        <div
          ref={area}
          class="cells"
          style={{ height: `${height}px` }}
          role="application"
          aria-label={`${label}. Arrow keys place a box, with Shift they enlarge it, ${drawn ? "Enter zooms in, " : ""}Escape removes it.`}
          tabIndex={0}
          onKeyDown={press}
          onPointerDown={(event) => {
            if (event.button !== 0) return;
            area.current?.setPointerCapture(event.pointerId);
            setDrawing(true);
            draw([place(event), place(event)]);
          }}
          onPointerMove={(event) => {
            setPointed(place(event));
            if (isDrawing && box) draw([box[0], place(event)]);
          }}
          onPointerLeave={() => setPointed(null)}
          onPointerUp={() => {
            if (!isDrawing) return;
            setDrawing(false);
            if (box) drawn?.(box);
          }}
          onPointerCancel={() => {
            setDrawing(false);
            draw(null);
          }}
        >
          <canvas
            ref={canvas}
            width={Math.max(1, width * devicePixelRatio)}
            height={height * devicePixelRatio}
          />
          {box && (
            <div
              class="drag"
              style={{
                left: share(Math.min(box[0].column, box[1].column), columns),
                width: share(Math.abs(box[0].column - box[1].column) + 1, columns),
                bottom: share(Math.min(box[0].line, box[1].line), lines),
                height: share(Math.abs(box[0].line - box[1].line) + 1, lines),
              }}
            />
          )}
        </div>
      </div>
      <div class="axis">
        <span>{time(range.from * 1000)}</span>
        <span class="pointed" aria-hidden="true">
          {pointed && pointed.line < lines && pointed.column < columns && tell?.(pointed)}
        </span>
        <span>{time(range.to * 1000)}</span>
      </div>
    </>
  );
}
