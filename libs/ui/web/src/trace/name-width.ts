import { effect, signal } from "@preact/signals";

const KEY = "tactus.names";
/** Shares of the width that names have, in percent. */
export const LEAST = 10;
export const MOST = 80;

/** What is kept of a share; null where it is none. */
export function shareOf(kept: string | null): number | null {
  const share = Number(kept ?? Number.NaN);
  return Number.isFinite(share) ? Math.min(MOST, Math.max(LEAST, share)) : null;
}

/** The share that names have if somebody has set it. */
export const nameShare = signal(shareOf(localStorage.getItem(KEY)));

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
