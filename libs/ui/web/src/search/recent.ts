import { config, tenant } from "../api";
import { keptHere } from "../kept";

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
    const kept: unknown = JSON.parse(keptHere.get(key()) ?? "[]");
    return Array.isArray(kept) ? kept.filter((query) => typeof query === "string") : [];
  } catch {
    return [];
  }
}

export function remember(query: string) {
  const all = [query, ...recent().filter((known) => known !== query)].slice(0, MOST_RECENT);
  keptHere.set(key(), JSON.stringify(all));
}
