import { config, tenant } from "../api";

const RECENT = "tactus.recent";
const MOST_RECENT = 20;

/** Tenants share a browser, but not what they asked. */
function key(): string {
  const asking = tenant.value || config.value?.tenants.join("|") || "";
  return asking === "" || asking === "single-tenant" ? RECENT : `${RECENT}.${asking}`;
}

/** Queries that were run, the last first. */
export function recent(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key()) ?? "[]");
    return Array.isArray(kept) ? kept.filter((query) => typeof query === "string") : [];
  } catch {
    return [];
  }
}

export function remember(query: string) {
  const all = [query, ...recent().filter((known) => known !== query)].slice(0, MOST_RECENT);
  try {
    localStorage.setItem(key(), JSON.stringify(all));
  } catch {
    // The browser keeps nothing, or is full: the search itself went well.
  }
}
