import { useMemo, useRef } from "preact/hooks";
import { ticks } from "../format";
import { LEAST, MOST, nameShare, setNameShare } from "./name-width";
import { secondRows } from "./rows";
import type { TraceState } from "./state";

const SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1];

/** What stands above the rows: how wide names are, what is folded, and times. */
export function Ruler({ state }: { state: TraceState }) {
  const { from, to } = state.window.value;
  const isFolded = state.folds.value.folded.size > 0;
  const { trace, shape } = state.model;
  const isFoldable = useMemo(() => secondRows(trace.parent, shape.size).length > 0, [trace, shape]);
  const times = ticks(SHARES.map((share) => from + share * (to - from)));
  return (
    <div class="ruler">
      <span class="of-names">
        Service and operation
        {(isFolded || isFoldable) && (
          <button type="button" class="link" onClick={() => state.foldAll(!isFolded)}>
            {isFolded ? "open all" : "fold all"}
          </button>
        )}
        <Divider />
      </span>
      <span class="ticks" aria-hidden="true">
        {SHARES.slice(0, -1).map((share, at) => (
          <span key={share} style={{ left: `${share * 100}%` }}>
            {times[at]}
          </span>
        ))}
      </span>
      <span class="number" aria-hidden="true">
        {times.at(-1)}
      </span>
    </div>
  );
}

/** Between names and times; is dragged, or moved with arrows, and where it usually is after a double click. */
function Divider() {
  const element = useRef<HTMLSpanElement>(null);
  /** Names end there, or so many percent further. */
  const moveTo = (x: number, more = 0) => {
    const ruler = element.current?.closest(".ruler")?.getBoundingClientRect();
    if (ruler) setNameShare(((x - ruler.left) / ruler.width) * 100 + more);
  };
  const drag = (event: PointerEvent) => {
    if (element.current?.hasPointerCapture(event.pointerId)) moveTo(event.clientX);
  };
  const press = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (by === undefined || !element.current) return;
    event.preventDefault();
    moveTo(element.current.getBoundingClientRect().right, by);
  };
  return (
    <span
      ref={element}
      class="divider"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of names"
      aria-valuemin={LEAST}
      aria-valuemax={MOST}
      aria-valuenow={Math.round(nameShare.value ?? 38)}
      tabIndex={0}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag}
      onKeyDown={press}
      onDblClick={() => {
        nameShare.value = null;
      }}
    />
  );
}
