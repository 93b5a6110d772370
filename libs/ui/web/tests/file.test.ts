import { afterEach, beforeEach, expect, test, vi } from "vitest";

/** As much of an element as it takes to paste into it. */
class Plain {
  constructor(
    readonly isContentEditable: boolean,
    private readonly tag = "div",
  ) {}
  closest(selector: string) {
    return selector.split(", ").includes(this.tag) ? this : null;
  }
}

const listeners = new Map<string, (event: unknown) => void>();

beforeEach(() => {
  vi.stubGlobal("HTMLElement", Plain);
  vi.stubGlobal("localStorage", { getItem: () => null, setItem() {}, removeItem() {} });
  vi.stubGlobal("addEventListener", (name: string, listener: (event: unknown) => void) =>
    listeners.set(name, listener),
  );
});
afterEach(() => vi.unstubAllGlobals());

/** Names of the files that are opened when something is pasted. */
async function opened(
  into: Plain,
  { text = "", files = [] as { name: string }[], isTaken = false },
): Promise<string[]> {
  const { takeFiles } = await import("../src/file/taken");
  const names: string[] = [];
  takeFiles((name) => names.push(name));
  listeners.get("paste")?.({
    // What is in a shadow root is not the target that is seen from outside.
    target: new Plain(false),
    composedPath: () => [into],
    clipboardData: { files, getData: () => text },
    defaultPrevented: isTaken,
    preventDefault() {},
  });
  return names;
}

test("text that is pasted into a field is for that", async () => {
  const text = '{"data":[]}';
  expect(await opened(new Plain(false), { text })).toEqual(["What was pasted"]);
  expect(await opened(new Plain(true), { text })).toEqual([]);
  expect(await opened(new Plain(false, "textarea"), { text })).toEqual([]);
  expect(await opened(new Plain(false), { text, isTaken: true })).toEqual([]);
  // A copied table is a picture as well.
  expect(await opened(new Plain(true), { text, files: [{ name: "table.png" }] })).toEqual([]);
});

test("file that is pasted is opened, wherever that is", async () => {
  const files = [{ name: "trace.json" }];
  expect(await opened(new Plain(false), { files })).toEqual(["trace.json"]);
  expect(await opened(new Plain(true), { files, isTaken: true })).toEqual(["trace.json"]);
  expect(await opened(new Plain(false), {})).toEqual([]);
});
