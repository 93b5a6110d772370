import { useMemo, useState } from "preact/hooks";
import { timesAmong } from "../format";
import { HeatCanvas } from "../heatmap/canvas";
import { type Box, boundsOf, columnsOf, linesOf, rangeIn } from "../heatmap/grid";
import type { Series } from "../metrics";
import { visible } from "../names";
import type { Range } from "../range";
import { Label } from "../text";
import { nameOf } from "./table";

const MOST_LINES = 40;
const LINE = 18;

interface Props {
  series: Series[];
  range: Range;
  step: number;
  format(value: number): string;
  zoom(range: Range): void;
  ready(canvas: HTMLCanvasElement): void;
}

/** Series over each other, the largest above: the darker a step, the larger its value. Dragging zooms. */
export function SeriesHeatmap({ series, range, step, format, zoom, ready }: Props) {
  const [box, setBox] = useState<Box | null>(null);
  const { columns, lines } = useMemo(() => {
    const columns = columnsOf(range, step);
    // Drawn from below.
    const lines = linesOf(series, columns, MOST_LINES).reverse();
    return { columns, lines };
  }, [series, range, step]);
  const cells = useMemo(() => lines.map(({ values }) => values), [lines]);
  const { least, most } = useMemo(() => boundsOf(cells), [cells]);
  const bounds = least < 0 ? `from ${format(least)} up to ${format(most)}` : `up to ${format(most)}`;
  const time = timesAmong([range.from * 1_000, range.to * 1_000]);
  const shown = (value: number) => (Number.isNaN(value) ? "nothing" : format(value));
  return (
    <figure class="heatmap of-series">
      <figcaption>
        <span class="muted">
          {bounds}
          {series.length > MOST_LINES && ` · the ${MOST_LINES} largest of ${series.length} series`}
        </span>
      </figcaption>
      <HeatCanvas
        cells={cells}
        lineHeight={LINE}
        label={`Series over time, ${bounds}; the table below has their values`}
        range={range}
        scale={
          <div class="scale">
            {[...lines].reverse().map(({ series }) => (
              <span key={nameOf(series)} title={visible(nameOf(series))}>
                <Label value={nameOf(series)} />
              </span>
            ))}
          </div>
        }
        box={box}
        tell={({ line, column }) =>
          `${time((columns.from + column * step) * 1000)}, ${visible(nameOf(lines[line].series))}: ${shown(lines[line].values[column])}`
        }
        draw={setBox}
        drawn={(box) => {
          setBox(null);
          if (box[0].column !== box[1].column) zoom(rangeIn(box, columns));
        }}
        ready={ready}
      />
    </figure>
  );
}
