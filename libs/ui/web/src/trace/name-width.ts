import { effect, signal } from "@preact/signals";
import { keptHere } from "../kept";

const KEY = "tactus.names";
/** Shares of the width that names have, in percent. */
export const LEAST = 10;
export const MOST = 80;

/** The share that names have if somebody has set it. */
export const nameShare = signal<number | null>(null);

/** Sets it, within the bounds; what is no number sets nothing. */
export function setNameShare(share: number) {
  if (Number.isFinite(share)) nameShare.value = Math.min(MOST, Math.max(LEAST, share));
}

setNameShare(Number(keptHere.get(KEY) ?? Number.NaN));

effect(() => {
  const { style } = document.documentElement;
  if (nameShare.value === null) {
    style.removeProperty("--name-share");
    keptHere.set(KEY, null);
  } else {
    style.setProperty("--name-share", `${nameShare.value}%`);
    keptHere.set(KEY, String(nameShare.value));
  }
});
