import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { time, timesAmong } from "../format";
import { colourOf, lookOf, type Pattern, patternOf } from "../looks";
import type { Exemplar } from "../metrics";
import type { Range } from "../range";
import { Label } from "../text";
import { isDark } from "../theme";
import { axisOf, stacked, stepAt, type Table } from "./table";

const HEIGHT = 320;
/** How near to an exemplar a click has to be, in pixels. */
const NEAR = 10;

export type Kind = "line" | "bar";

interface Props {
  table: Table;
  range: Range;
  /** Seconds of a step. */
  step: number;
  kind: Kind;
  /** Bars stand on each other. */
  isStacked: boolean;
  hidden: ReadonlySet<number>;
  format(value: number): string;
  zoom(from: number, to: number): void;
  open(exemplar: Exemplar): void;
  /** The canvas, for a picture of it. */
  ready(canvas: HTMLCanvasElement): void;
}

/** How lines are broken, in pixels. */
const DASHES: Record<Pattern, number[] | undefined> = { plain: undefined, striped: [8, 4], dotted: [2, 3] };

/** How wide bars are, at most in pixels. The time of a value is where its step ends, and so does its bar. */
const BARS = { size: [0.9, 60], align: -1 } satisfies uPlot.Series.BarsPathBuilderOpts;

/** What bars are filled with: their colour, with stripes or dots in it. */
function fillOf(colour: string, pattern: Pattern): string | CanvasPattern {
  const size = 6 * Math.ceil(devicePixelRatio);
  const tile = document.createElement("canvas");
  tile.width = size;
  tile.height = size;
  const context = tile.getContext("2d");
  if (pattern === "plain" || !context) return colour;
  context.fillStyle = colour;
  context.fillRect(0, 0, size, size);
  context.fillStyle = "#ffffff80";
  if (pattern === "striped") context.fillRect(0, 0, size, size / 3);
  else context.fillRect(size / 3, size / 3, size / 3, size / 3);
  return context.createPattern(tile, "repeat") ?? colour;
}

/** Series over time, with exemplars as diamonds. Dragging zooms; a click on an exemplar opens its trace. */
export function Plot({ table, range, step, kind, isStacked, hidden, format, zoom, open, ready }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const dark = isDark();
  const [pointed, setPointed] = useState<number | null>(null);
  const calls = useRef({ format, zoom, open, ready });
  calls.current = { format, zoom, open, ready };
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const text = style.getPropertyValue("--muted");
    const axis = {
      stroke: text,
      grid: { stroke: style.getPropertyValue("--line"), width: 1 },
      ticks: { show: false },
    };
    const stacks = kind === "bar" && isStacked;
    const exemplars = table.series.flatMap((one, at) =>
      // On a stack a value has no place of its own.
      hidden.has(at) || stacks ? [] : one.exemplars.map((exemplar) => ({ exemplar, at })),
    );
    const shown = table.series.map(({ values }, at) => ({ values, at })).filter(({ at }) => !hidden.has(at));
    // What lies behind comes first: the sum of all, then of one less, and so on.
    const tops = stacked(shown.map(({ values }) => values)).map((values, n) => ({ ...shown[n], values }));
    const drawn = stacks ? tops.reverse() : shown;
    const pointedAt = (plot: uPlot) => {
      const { idx, left = -1 } = plot.cursor;
      if (kind === "line" || left < 0) return idx ?? null;
      const at = stepAt(table, plot.posToVal(left, "x"), step);
      return at < 0 ? null : at;
    };
    const plot = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, y: false },
        scales: {
          x: { range: [range.from, range.to] },
          y: { range: (_, low, high) => axisOf(low, high) },
        },
        axes: [
          {
            ...axis,
            space: 120,
            size: 32,
            // Seconds where whole minutes would stand there twice.
            values: (_, splits, _axis, _space, step) =>
              splits.map((seconds) => time(seconds * 1_000).slice(0, step < 60 ? undefined : -3)),
          },
          {
            ...axis,
            size: widthOf,
            values: (_, splits) => splits.map((value) => calls.current.format(value)),
          },
        ],
        series: [
          {},
          ...drawn.map(({ at }) => ({
            label: table.series[at].name,
            stroke: colourOf(at, dark),
            width: kind === "bar" ? 0 : 1.5,
            dash: DASHES[patternOf(at)],
            fill:
              kind === "bar"
                ? fillOf(`${colourOf(at, dark)}${stacks ? "" : "80"}`, patternOf(at))
                : undefined,
            paths: kind === "bar" ? uPlot.paths.bars?.(BARS) : undefined,
            points: { show: kind === "line", filter: kind === "line" ? pointsOf(table.times.length) : null },
          })),
        ],
        hooks: {
          setCursor: [(plot) => setPointed(pointedAt(plot))],
          draw: [(plot) => drawExemplars(plot, exemplars, dark)],
          setSelect: [
            (plot) => {
              const { left, width } = plot.select;
              if (width < 3) return;
              calls.current.zoom(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
        },
      },
      [table.times, ...drawn.map(({ values }) => values)],
      element,
    );
    const click = (event: MouseEvent) => {
      const area = plot.over.getBoundingClientRect();
      const [x, y] = [event.clientX - area.left, event.clientY - area.top];
      const distance = ({ exemplar }: { exemplar: Exemplar }) =>
        Math.hypot(plot.valToPos(exemplar.millis / 1000, "x") - x, plot.valToPos(exemplar.value, "y") - y);
      const nearest = exemplars.sort((a, b) => distance(a) - distance(b))[0];
      if (nearest && distance(nearest) <= NEAR) calls.current.open(nearest.exemplar);
    };
    plot.over.addEventListener("click", click);
    const canvas = element.querySelector("canvas");
    if (canvas) calls.current.ready(canvas);
    const observer = new ResizeObserver(() =>
      plot.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [table, range, step, kind, isStacked, hidden, dark]);
  return (
    <>
      <div
        ref={box}
        class="plot"
        role="img"
        aria-label="Series over time; the table below has their values"
      />
      <p class="readout muted" aria-hidden="true">
        {pointed !== null && pointed < table.times.length && (
          <Values table={table} at={pointed} hidden={hidden} format={format} />
        )}
      </p>
    </>
  );
}

/** So many values of a time are told. */
const MOST_TOLD = 6;

interface ValuesProps {
  table: Table;
  at: number;
  hidden: ReadonlySet<number>;
  format(value: number): string;
}

/** The highest values of a time; what is 0 is not told. */
function Values({ table, at, hidden, format }: ValuesProps) {
  const timeOf = useMemo(() => timesAmong(table.times.map((seconds) => seconds * 1_000)), [table]);
  const all = table.series
    .map(({ name, values }, number) => ({ name, number, value: values[at] }))
    .filter(({ number, value }) => !!value && !hidden.has(number))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  return (
    <>
      <span>{timeOf(table.times[at] * 1_000)}</span>
      {all.slice(0, MOST_TOLD).map(({ name, number, value }) => (
        <span key={number}>
          <span class={`swatch ${lookOf(number)}`} /> <Label value={name} /> {format(value ?? 0)}
        </span>
      ))}
      {all.length > MOST_TOLD && <span>and {all.length - MOST_TOLD} more</span>}
    </>
  );
}

/** So many points are told apart. */
const FEW = 40;

/** Which points of a series are drawn: all of few, else those that no line leads to or from. */
function pointsOf(count: number) {
  return (plot: uPlot, series: number): number[] => {
    const values = plot.data[series];
    const isAlone = (at: number) => values[at] != null && values[at - 1] == null && values[at + 1] == null;
    const all = [...values.keys()];
    return count < FEW ? all : all.filter(isAlone);
  };
}

/** Pixels that a letter of an axis takes, about. */
const LETTER = 7;

/** How wide the axis of values is: counts may have many digits. */
function widthOf(_: uPlot, values: string[] | null): number {
  return Math.max(72, 16 + LETTER * Math.max(0, ...(values ?? []).map(({ length }) => length)));
}

function drawExemplars(plot: uPlot, exemplars: { exemplar: Exemplar; at: number }[], dark: boolean) {
  const { ctx } = plot;
  const size = 4 * devicePixelRatio;
  ctx.save();
  for (const { exemplar, at } of exemplars) {
    const x = plot.valToPos(exemplar.millis / 1000, "x", true);
    const y = plot.valToPos(exemplar.value, "y", true);
    ctx.beginPath();
    ctx.moveTo(x, y - size);
    ctx.lineTo(x + size, y);
    ctx.lineTo(x, y + size);
    ctx.lineTo(x - size, y);
    ctx.closePath();
    ctx.fillStyle = colourOf(at, dark);
    ctx.strokeStyle = dark ? "#e6e9ee" : "#1b1f24";
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}
