import { afterEach, expect, test, vi } from "vitest";
import { copy } from "../src/trace/actions";

afterEach(() => {
  vi.unstubAllGlobals();
});

test("focus is where it was after something is copied without the clipboard API", async () => {
  let active: Plain;
  class Plain {
    value = "";
    focus() {
      active = this;
    }
    select() {
      active = this;
    }
    remove() {
      active = body;
    }
    append() {}
  }
  const body = new Plain();
  const button = new Plain();
  active = button;
  let copied = "";
  vi.stubGlobal("HTMLElement", Plain);
  vi.stubGlobal("navigator", {});
  vi.stubGlobal("document", {
    body,
    get activeElement() {
      return active;
    },
    createElement: () => new Plain(),
    execCommand: () => {
      copied = active.value;
      return true;
    },
  });
  expect(await copy("http://pages.example/ui/trace/1")).toBe(true);
  expect(copied).toBe("http://pages.example/ui/trace/1");
  expect(active).toBe(button);
});
