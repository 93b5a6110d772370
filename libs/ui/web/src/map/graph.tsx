import { Scroll } from "../scroll";
import { visible } from "../text";
import type { Edge } from "./edges";
import type { Drawn } from "./layout";

interface Props {
  drawn: Drawn;
  label(edge: Edge): string;
  /** A class that tells how a call changed. */
  turn?(edge: Edge): string;
  focus?: string;
  /** Where a service leads to. */
  lead(name: string): string;
}

/** Services and their calls, from left to right. */
export function Graph({ drawn, label, turn, focus = "", lead }: Props) {
  const most = Math.max(1, ...drawn.edges.map(({ edge }) => edge.calls));
  return (
    <Scroll kind="map">
      <svg
        viewBox={`0 0 ${drawn.width} ${drawn.height}`}
        style={{ width: `${drawn.width}px`, height: `${drawn.height}px` }}
        role="group"
        aria-label="Calls between services"
      >
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto"
          >
            <path d="M0 0L8 4L0 8z" class="arrow" />
          </marker>
        </defs>
        {drawn.edges.map(({ edge, path, x, y }) => (
          <g
            key={`${edge.client}\u0000${edge.server}\u0000${edge.kind}`}
            class={`edge ${turn ? turn(edge) : edge.errors > 0 ? "failed" : ""}`}
          >
            <path
              d={path}
              stroke-width={1 + 3 * (Math.log1p(edge.calls) / Math.log1p(most))}
              marker-end="url(#arrow)"
            />
            <text x={x} y={y}>
              {label(edge)}
              {!turn && edge.errors > 0 && ` ✕ ${Math.ceil((edge.errors / edge.calls) * 100)} %`}
            </text>
          </g>
        ))}
        {drawn.nodes.map(({ name, x, y, width, height }) => (
          <a key={name} href={lead(name)} aria-label={`calls of and to ${name || "unknown"}`}>
            <rect
              class={name === focus ? "node focus" : "node"}
              x={x}
              y={y}
              width={width}
              height={height}
              rx="4"
            />
            <text class="label" x={x + width / 2} y={y + height / 2 + 4}>
              {visible(name || "unknown").slice(0, 28)}
            </text>
          </a>
        ))}
      </svg>
    </Scroll>
  );
}
