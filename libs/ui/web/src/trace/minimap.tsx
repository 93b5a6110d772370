import { useEffect, useRef, useState } from "preact/hooks";
import { isDark } from "../theme";
import { useWidth } from "../width";
import type { Model } from "./model";
import { isError } from "./skeleton";
import type { TraceState } from "./state";

const LINES = 48;

/** The whole trace in small. Dragging over it shows that part; a double click shows all again. */
export function Minimap({ model, state }: { model: Model; state: TraceState }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const dark = isDark();
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || width === 0) return;
    const image = context.createImageData(width, LINES);
    paint(image.data, model, width, dark);
    context.putImageData(image, 0, 0);
  }, [model, width, dark]);

  const share = (event: PointerEvent) => {
    const area = box.current?.getBoundingClientRect();
    return area ? Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)) : 0;
  };
  const finish = () => {
    setDrag(null);
    if (!drag || Math.abs(drag[0] - drag[1]) < 0.003) return;
    const [from, to] = drag[0] < drag[1] ? drag : [drag[1], drag[0]];
    state.show({ from: from * model.extent, to: to * model.extent });
  };
  const shown = state.window.value;
  const [from, to] = drag
    ? [Math.min(...drag), Math.max(...drag)]
    : [shown.from / model.extent, shown.to / model.extent];
  return (
    <div
      ref={box}
      class="minimap"
      role="img"
      aria-label="The whole trace; dragging shows a part of it, as do the keys w, a, s and d"
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        box.current?.setPointerCapture(event.pointerId);
        setDrag([share(event), share(event)]);
      }}
      onPointerMove={(event) => drag && setDrag([drag[0], share(event)])}
      onPointerUp={finish}
      onPointerCancel={() => setDrag(null)}
      onDblClick={() => state.show({ from: 0, to: model.extent })}
    >
      <canvas ref={canvas} width={Math.max(1, width)} height={LINES} />
      <div class="outside" style={{ left: "0", width: `${from * 100}%` }} />
      <div class="outside" style={{ right: "0", width: `${(1 - to) * 100}%` }} />
    </div>
  );
}

/** One pass over all spans, however many share a line: where bars begin and end is added up, then summed along the line. */
function paint(pixels: Uint8ClampedArray, { trace, extent }: Model, width: number, dark: boolean) {
  const stride = width + 1;
  const bars = new Int32Array(LINES * stride);
  const errors = new Int32Array(LINES * stride);
  const perLine = Math.max(1, trace.count / LINES);
  for (let row = 0; row < trace.count; row += 1) {
    const line = Math.min(LINES - 1, Math.floor(row / perLine)) * stride;
    const left = Math.min(width - 1, Math.floor((trace.start[row] / extent) * width));
    const end = ((trace.start[row] + Math.max(0, trace.duration[row])) / extent) * width;
    const right = Math.min(width, Math.max(left + 1, Math.ceil(end)));
    bars[line + left] += 1;
    bars[line + right] -= 1;
    if (isError(trace, row)) {
      errors[line + left] += 1;
      errors[line + right] -= 1;
    }
  }
  const plain = dark ? [122, 176, 255] : [10, 88, 202];
  const failed = dark ? [255, 90, 95] : [200, 16, 46];
  for (let line = 0; line < LINES; line += 1) {
    let covered = 0;
    let wrong = 0;
    for (let x = 0; x < width; x += 1) {
      covered += bars[line * stride + x];
      wrong += errors[line * stride + x];
      if (covered <= 0) continue;
      const [red, green, blue] = wrong > 0 ? failed : plain;
      pixels.set([red, green, blue, covered > 1 ? 230 : 150], (line * width + x) * 4);
    }
  }
}
