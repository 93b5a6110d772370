import { effect, signal } from "@preact/signals";
import { keptHere } from "./kept";

const KEY = "tactus.rows";
/** Heights of a row of a trace, in pixels; styles.css has the same. */
const HEIGHTS = { compact: 20, normal: 24, roomy: 28 } as const;
type Density = keyof typeof HEIGHTS;
const DENSITIES = Object.keys(HEIGHTS) as Density[];

const kept = keptHere.get(KEY);
export const density = signal<Density>(DENSITIES.find((density) => density === kept) ?? "normal");

export function rowHeight(): number {
  return HEIGHTS[density.value];
}

export function nextDensity() {
  density.value = DENSITIES[(DENSITIES.indexOf(density.value) + 1) % DENSITIES.length];
  keptHere.set(KEY, density.value);
}

effect(() => {
  document.documentElement.dataset.rows = density.value;
});
