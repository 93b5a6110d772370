import { useRef, useState } from "preact/hooks";
import { duration, integer, time } from "../format";
import { useLoaded } from "../loaded";
import { type Series, series, stepFor } from "../metrics";
import type { Range } from "../range";

const COLUMNS = 60;
const WIDTH = 600;
const LINE = 14;
/** Lines that are there at least. */
const FEWEST = 4;

/** Spans by time and duration. */
export interface Grid {
  /** Upper bounds in seconds, ascending, one a line; each is twice the one before. */
  bounds: number[];
  /** Spans by line and column. */
  counts: number[][];
}

/** The grid of the series of a `histogram_over_time`: lines without spans are there too. */
export function gridOf(all: Series[], range: Range, step: number): Grid {
  const found = all.map((one) => ({ bound: Number(one.labels.__bucket), points: one.points }));
  const finite = found.filter(({ bound }) => bound > 0);
  if (finite.length === 0) return { bounds: [], counts: [] };
  const highest = Math.max(...finite.map(({ bound }) => bound));
  const lowest = Math.min(highest / 2 ** (FEWEST - 1), ...finite.map(({ bound }) => bound));
  const lines = Math.round(Math.log2(highest / lowest)) + 1;
  const columns = Math.max(1, Math.ceil((range.to - range.from) / step));
  const bounds = Array.from({ length: lines }, (_, line) => lowest * 2 ** line);
  const counts = bounds.map(() => new Array<number>(columns).fill(0));
  for (const { bound, points } of finite) {
    const line = counts[Math.round(Math.log2(bound / lowest))];
    for (const [millis, value] of points) {
      const column = Math.floor((millis / 1000 - range.from) / step);
      line[Math.min(columns - 1, Math.max(0, column))] += value;
    }
  }
  return { bounds, counts };
}

export interface Box {
  q: string;
  range: Range;
}

interface Place {
  column: number;
  line: number;
}

interface Props {
  condition: string;
  range: Range;
  /** Where the traces of a box are shown. */
  lead(box: Box): string;
}

/** Where requests lie in time and duration. A box drawn over it leads to their traces. */
export function Heatmap({ condition, range, lead }: Props) {
  const step = stepFor(range, COLUMNS);
  const { value, problem } = useLoaded(`${condition} ${range.from} ${range.to}`, async (signal) => {
    const all = await series(`{ ${condition} } | histogram_over_time(duration)`, range, step, signal);
    return gridOf(all, range, step);
  });
  const [drawn, setDrawn] = useState<[Place, Place] | null>(null);
  const [isDrawing, setDrawing] = useState(false);
  const plot = useRef<SVGSVGElement>(null);
  if (problem !== null) return <p class="muted">no heatmap: {problem}</p>;
  if (value === null) return <div class="heatmap" aria-busy="true" />;
  const { bounds, counts } = value;
  if (bounds.length === 0) return null;
  const columns = counts[0].length;
  const most = Math.max(1, ...counts.flat());
  const width = WIDTH / columns;
  const height = bounds.length * LINE;
  const place = (event: PointerEvent): Place => {
    const area = plot.current?.getBoundingClientRect() ?? new DOMRect(0, 0, 1, 1);
    const within = (share: number, count: number) =>
      Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return {
      column: within((event.clientX - area.left) / area.width, columns),
      line: bounds.length - 1 - within((event.clientY - area.top) / area.height, bounds.length),
    };
  };
  const box = drawn && boxOf(drawn, bounds, condition, range, step);
  return (
    <figure class="heatmap">
      <figcaption>
        Requests by duration <span class="muted">draw a box to see its traces</span>
        {drawn && box && (
          <>
            {" "}
            <a href={lead(box)}>
              {integer(countIn(drawn, counts))} requests of {time(box.range.from * 1000)} –{" "}
              {time(box.range.to * 1000)}: show traces
            </a>
          </>
        )}
      </figcaption>
      <div class="with-scale">
        <div class="scale" aria-hidden="true">
          <span>{duration(bounds[bounds.length - 1] * 1e9)}</span>
          <span>{duration((bounds[0] / 2) * 1e9)}</span>
        </div>
        <svg
          ref={plot}
          viewBox={`0 0 ${WIDTH} ${height}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`Requests by time and duration, up to ${integer(most)} in a cell`}
          style={{ height: `${height}px` }}
          onPointerDown={(event) => {
            plot.current?.setPointerCapture(event.pointerId);
            setDrawing(true);
            setDrawn([place(event), place(event)]);
          }}
          onPointerMove={(event) => isDrawing && drawn && setDrawn([drawn[0], place(event)])}
          onPointerUp={() => setDrawing(false)}
          onPointerCancel={() => setDrawing(false)}
        >
          {counts.flatMap((line, at) =>
            line.map((count, column) =>
              count > 0 ? (
                <rect
                  key={`${at} ${column}`}
                  class="cell"
                  x={column * width}
                  y={(bounds.length - 1 - at) * LINE}
                  width={width}
                  height={LINE}
                  fill-opacity={0.2 + 0.8 * (Math.log1p(count) / Math.log1p(most))}
                />
              ) : null,
            ),
          )}
          {drawn && (
            <rect
              class="drag"
              x={Math.min(drawn[0].column, drawn[1].column) * width}
              y={(bounds.length - 1 - Math.max(drawn[0].line, drawn[1].line)) * LINE}
              width={(Math.abs(drawn[0].column - drawn[1].column) + 1) * width}
              height={(Math.abs(drawn[0].line - drawn[1].line) + 1) * LINE}
            />
          )}
        </svg>
      </div>
      <div class="axis">
        <span>{time(range.from * 1000)}</span>
        <span>{time(range.to * 1000)}</span>
      </div>
    </figure>
  );
}

function sorted([a, b]: [Place, Place]) {
  return {
    columns: [Math.min(a.column, b.column), Math.max(a.column, b.column)],
    lines: [Math.min(a.line, b.line), Math.max(a.line, b.line)],
  };
}

function countIn(drawn: [Place, Place], counts: number[][]): number {
  const { columns, lines } = sorted(drawn);
  const within = counts.slice(lines[0], lines[1] + 1).map((line) => line.slice(columns[0], columns[1] + 1));
  return Math.round(within.flat().reduce((sum, count) => sum + count, 0));
}

/** The query and the range of the spans in a box. */
export function boxOf(
  drawn: [Place, Place],
  bounds: number[],
  condition: string,
  range: Range,
  step: number,
): Box {
  const { columns, lines } = sorted(drawn);
  const nanos = (seconds: number) => `${Math.round(seconds * 1e9)}ns`;
  const durations = `duration > ${nanos(bounds[lines[0]] / 2)} && duration <= ${nanos(bounds[lines[1]])}`;
  return {
    q: `{ ${condition} && ${durations} }`,
    range: {
      from: Math.floor(range.from + columns[0] * step),
      to: Math.ceil(Math.min(range.to, range.from + (columns[1] + 1) * step)),
    },
  };
}
