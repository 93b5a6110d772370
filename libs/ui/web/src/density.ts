import { effect, signal } from "@preact/signals";

const KEY = "tactus.rows";
/** Heights of a row of a trace, in pixels; styles.css has the same. */
const HEIGHTS = { compact: 20, normal: 24, roomy: 28 } as const;
type Density = keyof typeof HEIGHTS;
const DENSITIES = Object.keys(HEIGHTS) as Density[];

const kept = localStorage.getItem(KEY);
export const density = signal<Density>(DENSITIES.find((density) => density === kept) ?? "normal");

export function rowHeight(): number {
  return HEIGHTS[density.value];
}

export function nextDensity() {
  density.value = DENSITIES[(DENSITIES.indexOf(density.value) + 1) % DENSITIES.length];
  localStorage.setItem(KEY, density.value);
}

effect(() => {
  document.documentElement.dataset.rows = density.value;
});
