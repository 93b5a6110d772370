import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { integer, timesAmong } from "../format";
import type { Series } from "../metrics";
import type { Range } from "../range";
import { forget, params, setParams, writeSoon } from "../router";
import { Text } from "../text";
import { HeatCanvas } from "./canvas";
import {
  type Box,
  boundOf,
  boundsOf,
  boxOf,
  countIn,
  gridOf,
  queryIn,
  rangeIn,
  scaleOf,
  textOf,
} from "./grid";

/** Pixels that all lines take, about. */
const HEIGHT = 200;

interface Props {
  /** Of a histogram. */
  series: Series[];
  range: Range;
  step: number;
  /** Buckets of a doubling. */
  perDoubling: number;
  /** What was measured: sizes are whole numbers of `unit`, of which `perOne` make one of the labels. */
  measured: { attribute: string; unit: string; perOne: number };
  /** The condition of the spans, without braces; null if that is not all of their query. */
  condition: string | null;
  what: string;
  format(size: number): string;
  /** Where the traces of a query are shown. */
  lead(q: string, range: Range): string;
  zoom?(range: Range): void;
  /** What tells the spans of a query from the others of their time. */
  differences?(q: string, range: Range): ComponentChildren;
  ready?(canvas: HTMLCanvasElement): void;
}

/** Where spans lie in time and size. A box drawn over it leads to their traces. */
export function SpanHeatmap(props: Props) {
  const {
    series,
    range,
    step,
    perDoubling,
    measured,
    condition,
    what,
    format,
    lead,
    zoom,
    differences,
    ready,
  } = props;
  // While a box is drawn the address is behind it.
  const [drawn, setDrawn] = useState<string | null>(null);
  const asked = params.value.get("box") ?? "";
  const differs = params.value.get("differs") ?? "";
  const whose = useRef({});
  useEffect(() => setDrawn(null), [asked]);
  useEffect(() => () => forget(whose.current), []);
  const grid = useMemo(
    () => gridOf(series, range, step, perDoubling, measured.perOne),
    [series, range, step, perDoubling, measured.perOne],
  );
  // What is 0 is in no bucket, but counts elsewhere on the page.
  if (grid === null)
    return (
      <p class="hint">
        No span that matches in this range has a <Text value={measured.attribute} /> above 0.
      </p>
    );
  const time = timesAmong([range.from * 1_000, range.to * 1_000]);
  const { counts } = grid;
  const { most } = boundsOf(counts);
  // Of a range that moves on, a box may have left a part behind: its text stays.
  const text = drawn ?? asked;
  const box = boxOf(text, grid);
  const draw = (box: Box | null) => {
    const text = box ? textOf(box, grid) : "";
    setDrawn(text);
    writeSoon(whose.current, () => setParams({ box: text || null }));
  };
  const within = box && rangeIn(box, grid);
  const queryOf = (box: Box | null) =>
    box && condition !== null ? queryIn(box, grid, condition, measured.attribute, measured.unit) : null;
  const query = queryOf(box);
  const differing = boxOf(differs, grid);
  const ofDiffering = queryOf(differing);
  return (
    <figure class="heatmap">
      <figcaption>
        {what}{" "}
        <span class="muted">
          up to {integer(Math.round(most))} in a cell · draw a box to see its traces, by mouse or with arrow
          keys
        </span>
      </figcaption>
      <HeatCanvas
        cells={counts}
        lineHeight={Math.max(3, Math.min(14, Math.round(HEIGHT / counts.length)))}
        label={`${what} by time and size, up to ${integer(Math.round(most))} in a cell`}
        range={range}
        scale={
          <div class="scale" aria-hidden="true">
            {scaleOf(grid).map((size, at) => (
              <span key={at}>{format(size)}</span>
            ))}
          </div>
        }
        box={box}
        tell={({ line, column }) =>
          `${time((grid.from + column * step) * 1000)}, ${format(boundOf(grid, line - 1))} – ${format(boundOf(grid, line))}: ${integer(Math.round(counts[line][column]))}`
        }
        draw={draw}
        ready={ready}
      />
      {/* Below the cells, and there before a box is: nothing moves below the pointer that draws one. */}
      <p class="of-box" aria-live="polite">
        {box && within && (
          <>
            {query !== null ? (
              <a href={lead(query, within)}>
                {integer(countIn(box, counts))} of {time(within.from * 1000)} – {time(within.to * 1000)}: show
                traces
              </a>
            ) : (
              <span>{integer(countIn(box, counts))} in the box</span>
            )}
            {differences && query !== null && (
              <button
                type="button"
                aria-pressed={differs === text}
                onClick={() => setParams({ differs: differs === text ? null : text })}
              >
                What differs
              </button>
            )}
            {zoom && (
              <button type="button" class="link" onClick={() => zoom(within)}>
                zoom in
              </button>
            )}
          </>
        )}
      </p>
      {differing && ofDiffering !== null && differences?.(ofDiffering, rangeIn(differing, grid))}
    </figure>
  );
}
