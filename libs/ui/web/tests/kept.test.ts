import { afterEach, expect, test, vi } from "vitest";
import { keptHere } from "../src/kept";

afterEach(() => vi.unstubAllGlobals());

test("pages do without a browser that keeps nothing for them", () => {
  const denied = () => {
    throw new DOMException("Access is denied for this document.", "SecurityError");
  };
  vi.stubGlobal("localStorage", { getItem: denied, setItem: denied, removeItem: denied });
  keptHere.set("tactus.theme", "dark");
  keptHere.set("tactus.theme", null);
  expect(keptHere.get("tactus.theme")).toBeNull();
});

test("what is set is kept, and null takes it away", () => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
  keptHere.set("tactus.theme", "dark");
  expect(keptHere.get("tactus.theme")).toBe("dark");
  keptHere.set("tactus.theme", null);
  expect(kept.size).toBe(0);
});
