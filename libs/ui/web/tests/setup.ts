import fc from "fast-check";

declare const process: { env: Record<string, string | undefined> };

// As in the tests of the server: the same random input each time, unless another seed is named.
const seed = BigInt(process.env.PROPTEST_RNG_SEED ?? "1");
fc.configureGlobal({
  seed: Number(BigInt.asIntN(32, seed)),
  numRuns: Number(process.env.PROPERTY_RUNS ?? "100"),
});

/** What modules ask of a browser when they are loaded. */
const kept = new Map<string, string>();

Object.assign(globalThis, {
  sessionStorage: {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  },
});

Object.assign(globalThis, {
  document: Object.assign(new EventTarget(), {
    hidden: false,
    baseURI: "http://pages.example/ui/",
    // Looked at by the editor's library when it is loaded.
    documentElement: { style: {} },
  }),
});
