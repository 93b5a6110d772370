import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { scrollBack } from "../src/scrolled";

const page = { scrollHeight: 0 };
let target: EventTarget;
let places: number[];
let resized: () => void;

/** The page gets as long as that. */
function grow(height: number) {
  page.scrollHeight = height;
  resized();
}

beforeEach(() => {
  vi.useFakeTimers();
  target = new EventTarget();
  places = [];
  resized = () => {};
  vi.stubGlobal("document", { documentElement: page, body: {} });
  vi.stubGlobal("innerHeight", 500);
  vi.stubGlobal("scrollTo", (_: number, y: number) => {
    places.push(y);
    vi.stubGlobal("scrollY", y);
  });
  vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
  vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(follow: () => void) {
        resized = follow;
      }
      observe() {}
      disconnect() {
        resized = () => {};
      }
    },
  );
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("page is where it was left as soon as it is long enough, and stays there while more comes in", () => {
  scrollBack(1000);
  grow(1200);
  expect(places).toEqual([]);
  grow(1600);
  grow(3000);
  expect(places).toEqual([1000, 1000]);
  vi.advanceTimersByTime(10_000);
  grow(4000);
  expect(places).toHaveLength(2);
});

test("whoever moves is not brought back", () => {
  for (const move of ["wheel", "keydown"]) {
    places = [];
    scrollBack(1000);
    grow(1600);
    target.dispatchEvent(new Event(move));
    grow(3000);
    expect(places, move).toEqual([1000]);
  }
});

test("whoever drags the scrollbar is not brought back", () => {
  scrollBack(1000);
  grow(1600);
  target.dispatchEvent(new Event("scroll"));
  grow(2000);
  vi.stubGlobal("scrollY", 300);
  target.dispatchEvent(new Event("scroll"));
  grow(3000);
  expect(places).toEqual([1000, 1000]);
});
