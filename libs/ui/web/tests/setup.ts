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
