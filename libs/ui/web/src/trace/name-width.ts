import { effect, signal } from "@preact/signals";

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

setNameShare(Number(localStorage.getItem(KEY) ?? Number.NaN));

effect(() => {
  const { style } = document.documentElement;
  if (nameShare.value === null) {
    style.removeProperty("--name-share");
    localStorage.removeItem(KEY);
  } else {
    style.setProperty("--name-share", `${nameShare.value}%`);
    localStorage.setItem(KEY, String(nameShare.value));
  }
});
