import { useRef } from "preact/hooks";
import { ErrorMessage } from "../error-message";
import { counted, duration, integer } from "../format";
import { useLoaded } from "../loaded";
import { look, monogram } from "../looks";
import { cut, named, visible } from "../names";
import type { Computation } from "./compute";
import { DEEPEST } from "./flame-boxes";
import type { TraceState } from "./state";

const HEIGHT = 22;
/** Boxes narrower than this share have no room for more than their colour. */
const WITH_SWATCH = 0.02;

/** Where time goes: the same calls of the same callers in one box, as wide as their own time and that of all below. */
export function FlameGraph({ computation, state }: { computation: Computation; state: TraceState }) {
  const within = state.within.value;
  const { value, problem } = useLoaded(String(within), () => computation.ask({ kind: "flame", within }));
  // What was shown stays until the next part is there.
  const last = useRef(value);
  if (value) last.current = value;
  if (problem !== null) return <ErrorMessage text={problem} />;
  if (!last.current) return <p role="status">reading…</p>;
  const { boxes, hidden, deeper, depth } = last.current;
  return (
    <div class="flame">
      <div class="tools">
        <span class="muted">
          Width is self time, of a call and all below it; the time in a box is what its calls took, added up.
          {hidden > 0 && ` ${counted(hidden, "call")} too narrow to be drawn.`}
          {deeper > 0 && ` What is below ${DEEPEST} calls is drawn when you choose one of them.`}
        </span>
        {boxes[0].call.longest >= 0 && (
          <button type="button" onClick={() => (state.within.value = -1)}>
            Show the whole trace
          </button>
        )}
      </div>
      <div class="boxes" style={{ height: `${depth * HEIGHT}px` }}>
        {boxes.map(({ call: path, depth, left, width }) => {
          const isRoot = path.longest < 0;
          const label = isRoot ? "whole trace" : `${path.service} ${path.name}`;
          const times = isRoot ? "" : ` ×${integer(path.calls)}`;
          const took = duration(isRoot ? state.model.extent : path.total);
          const own = isRoot ? "" : `, ${duration(path.self)} self time`;
          return (
            <button
              key={`${depth} ${left} ${label}`}
              type="button"
              class={isRoot ? "box" : `box ${look(path.service).split(" ")[0]}`}
              title={`${visible(cut(label, 2048))}${times}: ${took}${own}, ${duration(path.weight)} self time with all below`}
              style={{ top: `${depth * HEIGHT}px`, left: `${left * 100}%`, width: `${width * 100}%` }}
              onClick={() => {
                state.within.value = isRoot ? -1 : path.longest;
                if (path.longest >= 0) state.select(path.longest);
              }}
            >
              {!isRoot && width > WITH_SWATCH && <span class={`swatch ${look(path.service)}`} />}
              {!isRoot && <span class="mono">{monogram(path.service)}</span>}{" "}
              <bdi>{visible(isRoot ? label : named(path.name))}</bdi>
              {times} · {took}
              {path.errors > 0 && <span class="error"> ✕</span>}
            </button>
          );
        })}
      </div>
    </div>
  );
}
