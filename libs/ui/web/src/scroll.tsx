import type { ComponentChildren } from "preact";

/** What may be wider than the page; it takes the focus, so that keys can scroll it. */
export function Scroll({ kind = "", children }: { kind?: string; children: ComponentChildren }) {
  return (
    <div class={`scroll ${kind}`} role="group" aria-label={kind === "map" ? "Map" : "Table"} tabIndex={0}>
      {children}
    </div>
  );
}
