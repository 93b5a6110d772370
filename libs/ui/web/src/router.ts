import { computed, signal } from "@preact/signals";
import { scrollBack } from "./scrolled";

/** Pages without a name of something in their path. */
const TOP_PAGES = ["search", "services", "map", "explore", "live", "status", "file"] as const;
type TopPage = (typeof TOP_PAGES)[number];

export type Page =
  | { name: TopPage | "unknown" }
  | { name: "trace"; id: string }
  | { name: "compare"; a: string; b: string }
  | { name: "pair" };

const href = signal(location.href);

/** Where the pages are: what the server said in `<base>`. */
const root = new URL(document.baseURI).pathname;

/** Parameters of the address. */
export const params = computed(() => new URL(href.value).searchParams);

export const page = computed(() => pageOf(new URL(href.value).pathname.slice(root.length)));

const ID = "([0-9a-fA-F]{1,32})";
const TRACE = new RegExp(`^trace/${ID}$`);
const COMPARE = new RegExp(`^compare/(typical|[0-9a-fA-F]{1,32})\\.\\.\\.${ID}$`);

/** Stands in a comparison for the traces that are like the other one. */
export const TYPICAL = "typical";

/** The page of a path below the root. */
export function pageOf(path: string): Page {
  if (path === "") return { name: "search" };
  if (path === "compare") return { name: "pair" };
  const top = TOP_PAGES.find((name) => name === path);
  if (top) return { name: top };
  const trace = TRACE.exec(path);
  if (trace) return { name: "trace", id: padded(trace[1]) };
  const two = COMPARE.exec(path);
  return two
    ? { name: "compare", a: two[1] === TYPICAL ? TYPICAL : padded(two[1]), b: padded(two[2]) }
    : { name: "unknown" };
}

/** A trace id with all of its digits: many tools leave out leading zeros. */
export function padded(id: string): string {
  return id.toLowerCase().padStart(32, "0");
}

/** The address of a page, relative to the base. Parameters without a value are left out. */
export function address(path: string, values: Record<string, string | null | undefined> = {}): string {
  const given = Object.entries(values).filter((entry): entry is [string, string] => !!entry[1]);
  const query = new URLSearchParams(given).toString();
  return query === "" ? path : `${path}?${query}`;
}

/** The address follows a state after this time in milliseconds: browsers refuse to change it at each frame. */
const WRITE_AFTER = 250;

/** What is yet to be written into the address, by whose it is. */
const waiting = new Map<object, () => void>();
let timer = 0;

/** Lets `write` change the address when nothing more has changed for a while. `whose` has one such wish: the last. */
export function writeSoon(whose: object, write: () => void) {
  waiting.set(whose, write);
  clearTimeout(timer);
  timer = setTimeout(flush, WRITE_AFTER);
}

/** Writes at once what waits: somebody leaves, or wants the address. */
function flush() {
  clearTimeout(timer);
  const all = [...waiting.values()];
  waiting.clear();
  for (const write of all) write();
}

/** Nothing of theirs is to be written any more. */
export function forget(whose: object) {
  waiting.delete(whose);
}

/** The address of what is shown. */
export function here(): string {
  flush();
  return location.href;
}

function go(url: URL, replace: boolean) {
  if (url.href === href.value) return;
  const isOther = url.pathname !== new URL(href.value).pathname;
  if (replace) history.replaceState(history.state, "", url);
  else history.pushState(null, "", url);
  href.value = url.href;
  // Another page begins at its top.
  if (isOther) scrollBack(0);
}

export function navigate(path: string, replace = false) {
  flush();
  go(new URL(path, document.baseURI), replace);
}

/** Changes parameters of the page that is shown; `null` takes one away. */
export function setParams(values: Record<string, string | null>, replace = true) {
  flush();
  const url = new URL(href.value);
  for (const [name, value] of Object.entries(values)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  go(url, replace);
}

addEventListener("popstate", () => {
  // It belongs to the entry that was left.
  waiting.clear();
  href.value = location.href;
  scrollBack(Number(history.state?.y ?? 0));
});

// Each entry of the history knows how far its page was scrolled.
addEventListener("scrollend", () => history.replaceState({ y: scrollY }, ""));

/** Links within the pages change the page without loading it again. */
addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey)
    return;
  const link = (event.target as Element | null)?.closest?.("a");
  // Of a link in a picture, as a map is one, the properties are no texts.
  const href = link?.getAttribute("href");
  if (!link || href == null || link.getAttribute("target") || link.hasAttribute("download")) return;
  if (!URL.canParse(href, document.baseURI)) return;
  const url = new URL(href, document.baseURI);
  if (url.origin !== location.origin || !url.pathname.startsWith(root)) return;
  event.preventDefault();
  navigate(url.href);
});
