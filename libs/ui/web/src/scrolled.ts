/** What is asked for anew is waited for so many milliseconds. */
const LONGEST = 10_000;
/** Somebody goes elsewhere. */
const MOVES = ["wheel", "touchmove", "pointerdown", "keydown"];

let stop = () => {};

/** Scrolls a page to where it was left, as soon as it is that long again, and keeps it there while more comes in above. */
export function scrollBack(y: number) {
  stop();
  if (y <= 0) return scrollTo(0, 0);
  const follow = () => {
    if (document.documentElement.scrollHeight - innerHeight >= y) scrollTo(0, y);
  };
  const observer = new ResizeObserver(follow);
  const timer = setTimeout(() => stop(), LONGEST);
  stop = () => {
    observer.disconnect();
    clearTimeout(timer);
    for (const move of MOVES) removeEventListener(move, stop);
    stop = () => {};
  };
  observer.observe(document.body);
  for (const move of MOVES) addEventListener(move, stop);
}
