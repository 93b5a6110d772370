/** What is asked for anew is waited for so many milliseconds. */
const LONGEST = 10_000;
/** Somebody goes elsewhere. */
const MOVES = ["wheel", "touchmove", "pointerdown", "keydown"];

let stop = () => {};

/** Scrolls a page to where it was left, as soon as it is that long again, and keeps it there while more comes in above. */
export function scrollBack(y: number) {
  stop();
  if (y <= 0) return scrollTo(0, 0);
  const { documentElement } = document;
  let length: number | undefined;
  const follow = () => {
    if (documentElement.scrollHeight - innerHeight < y) return;
    length = documentElement.scrollHeight;
    scrollTo(0, y);
  };
  // A scrollbar that is dragged sends nothing else. Where rows came in above, the page is longer.
  const leave = () => {
    if (documentElement.scrollHeight === length && Math.abs(scrollY - y) > 2) stop();
  };
  const observer = new ResizeObserver(follow);
  const timer = setTimeout(() => stop(), LONGEST);
  stop = () => {
    observer.disconnect();
    clearTimeout(timer);
    for (const move of MOVES) removeEventListener(move, stop);
    removeEventListener("scroll", leave);
    stop = () => {};
  };
  observer.observe(document.body);
  for (const move of MOVES) addEventListener(move, stop);
  addEventListener("scroll", leave);
}
