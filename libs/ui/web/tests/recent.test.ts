import { afterEach, expect, test, vi } from "vitest";
import { type Config, config, setCredentials } from "../src/api";
import { recent, remember } from "../src/search/recent";

afterEach(() => {
  vi.unstubAllGlobals();
  config.value = null;
  setCredentials("", "");
});

test("queries that were run are those of the tenant that asks", () => {
  const kept = new Map([["tactus.recent", '["{ .old = 1 }"]']]);
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
  });
  const allowed = (...tenants: string[]) => (config.value = { tenants } as unknown as Config);
  expect(recent()).toEqual(["{ .old = 1 }"]);
  allowed("single-tenant");
  remember("{ }");
  expect(recent()).toEqual(["{ }", "{ .old = 1 }"]);
  setCredentials("a", "");
  expect(recent()).toEqual([]);
  remember("{ .of = 1 }");
  setCredentials("b", "");
  expect(recent()).toEqual([]);
  setCredentials("", "token");
  allowed("a");
  expect(recent()).toEqual(["{ .of = 1 }"]);
});
