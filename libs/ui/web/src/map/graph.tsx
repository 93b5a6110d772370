import { integer } from "../format";
import { cut, named, visible } from "../names";
import { Scroll } from "../scroll";
import { MOST_EDGES } from "./drawn";
import { type Edge, keyOf } from "./edges";
import { type Drawn, LETTER } from "./layout";

interface Props {
  drawn: Drawn;
  label(edge: Edge): string;
  /** A class that tells how a call changed. */
  turn?(edge: Edge): string;
  focus?: string;
  /** Where a service leads to. */
  lead(name: string): string;
}

/** A map that is too wide is drawn smaller down to this; then it scrolls. */
const SMALLEST = 0.75;

/** A text that the line below it does not strike through. */
function Label({ text, x, y }: { text: string; x: number; y: number }) {
  const width = text.length * LETTER + 12;
  return (
    <>
      <rect x={x - width / 2} y={y - 8} width={width} height={16} />
      <text x={x} y={y + 4}>
        {text}
      </text>
    </>
  );
}

/** So many letters of a name a node has room for. */
const LETTERS = 28;

function shortOf(name: string): string {
  return cut(visible(named(name, "unknown")), LETTERS - 1);
}

/** Says how many calls a map leaves out. */
export function NotDrawn({ count }: { count: number }) {
  if (count <= 0) return null;
  return (
    <p class="strip">
      ! Only the {integer(MOST_EDGES)} most frequent calls are shown, {integer(count)} are not.
    </p>
  );
}

/** Services and their calls, from left to right. */
export function Graph({ drawn, label, turn, focus = "", lead }: Props) {
  const classOf = (edge: Edge) => (turn ? turn(edge) : edge.errors > 0 ? "failed" : "");
  const labelOf = (edge: Edge) =>
    !turn && edge.errors > 0
      ? `${label(edge)} ✕ ${Math.ceil((edge.errors / edge.calls) * 100)} %`
      : label(edge);
  const most = Math.max(1, ...drawn.edges.map(({ edge }) => edge.calls));
  return (
    <Scroll kind="map">
      <svg
        viewBox={`0 0 ${drawn.width} ${drawn.height}`}
        style={{ width: `clamp(${SMALLEST * drawn.width}px, 100%, ${drawn.width}px)` }}
        role="group"
        aria-label="Calls between services"
      >
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="10"
            markerHeight="10"
            markerUnits="userSpaceOnUse"
            orient="auto"
          >
            <path d="M0 0L8 4L0 8z" class="arrow" />
          </marker>
        </defs>
        {drawn.edges.map(({ edge, path }) => (
          <path
            key={keyOf(edge)}
            class={`line ${classOf(edge)}`}
            d={path}
            stroke-width={1 + 3 * (Math.log1p(edge.calls) / Math.log1p(most))}
            marker-end="url(#arrow)"
          />
        ))}
        {drawn.edges.map(({ edge, x, y }) => (
          <g key={keyOf(edge)} class={`edge ${classOf(edge)}`}>
            <Label text={labelOf(edge)} x={x} y={y} />
          </g>
        ))}
        {drawn.nodes.map(({ name, x, y, width, height }) => (
          <a key={name} href={lead(name)} aria-label={`calls from and to ${shortOf(name)}`}>
            <rect
              class={name !== "" && name === focus ? "node focus" : "node"}
              x={x}
              y={y}
              width={width}
              height={height}
              rx="4"
            />
            {name.length > LETTERS && <title>{visible(cut(name, 2048))}</title>}
            <text class="label" x={x + width / 2} y={y + height / 2 + 4}>
              {shortOf(name)}
            </text>
          </a>
        ))}
      </svg>
    </Scroll>
  );
}
