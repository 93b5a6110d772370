import { CompletionContext } from "@codemirror/autocomplete";
import { EditorState } from "@codemirror/state";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { completing } from "../src/editor/completion";
import { Stored } from "../src/editor/stored";

const TAGS = {
  scopes: [
    { name: "intrinsic", tags: ["name", "duration"] },
    { name: "span", tags: ["http.route", "odd name"] },
    { name: "resource", tags: ["service.name"] },
    { name: "event", tags: ["exception.type"] },
  ],
};
const VALUES = {
  tagValues: [
    { type: "string", value: 'say "hi"' },
    { type: "int", value: "200" },
  ],
};

/** Addresses that were asked for. An answer waits until `answer` is called, unless that is at once. */
let asked: URL[] = [];
let waiting: (() => void)[] = [];
let aborted = 0;
let isSlow = false;

beforeEach(() => {
  [asked, waiting, aborted, isSlow] = [[], [], 0, false];
  vi.stubGlobal("document", { baseURI: "http://server/ui/" });
  vi.stubGlobal("fetch", (url: URL, { signal }: RequestInit) => {
    asked.push(url);
    return new Promise<Response>((resolve, reject) => {
      const answer = () => resolve(Response.json(url.pathname.endsWith("/tags") ? TAGS : VALUES));
      signal?.addEventListener("abort", () => {
        aborted += 1;
        reject(signal.reason);
      });
      if (isSlow) waiting.push(answer);
      else answer();
    });
  });
});
afterEach(() => vi.unstubAllGlobals());

const RANGE = { from: 600, to: 1200 };

function source(stored = new Stored(), recent: string[] = []) {
  const complete = completing({ stored, range: () => RANGE, recent: () => recent });
  return (marked: string, isExplicit = false) => {
    const state = EditorState.create({ doc: marked.replace("¦", "") });
    return complete(new CompletionContext(state, marked.indexOf("¦"), isExplicit));
  };
}

async function offered(marked: string) {
  return ((await source()(marked))?.options ?? []).map(({ label, displayLabel }) => displayLabel ?? label);
}

test("scopes, intrinsics and stored attributes are offered in a filter", async () => {
  const labels = await offered("{ ¦ }");
  expect(labels).toEqual(
    expect.arrayContaining([
      "name",
      "span:childCount",
      "trace:rootService",
      "span.http.route",
      'span."odd name"',
      "resource.service.name",
      "event.exception.type",
      "resource.",
      "parent.",
    ]),
  );
  expect(new Set(labels).size).toBe(labels.length);
  expect(asked.map(({ pathname, search }) => pathname + search)).toEqual([
    "/ui/api/v2/search/tags?start=600&end=1200&limit=1000",
  ]);
});

test("attributes without a scope and of the parent are offered behind what they begin with", async () => {
  expect(await offered("{ .¦ }")).toEqual([".http.route", '."odd name"', ".service.name"]);
  expect(await offered("{ parent.¦ }")).toContain("parent.resource.service.name");
});

test("an offer stays while its word is written on", async () => {
  const stays = (await source()("{ ¦"))?.validFor as (text: string) => boolean;
  expect(["", "span.ht", "resource."].map(stays)).toEqual([true, true, true]);
  expect([".", "parent.r", '"', "a b", "a="].map(stays)).toEqual([false, false, false, false, false]);
});

test("values are those of the spans that the rest of the filter finds", async () => {
  expect(await offered("{ kind = server && span.http.route = ¦ } | rate()")).toEqual([
    '"say \\"hi\\""',
    "200",
  ]);
  expect(asked[0].pathname).toBe("/ui/api/v2/search/tag/span.http.route/values");
  expect(asked[0].searchParams.get("q")).toBe("{ kind = server && true }");
  await offered("{ name = ¦ }");
  expect(asked[1].searchParams.has("q")).toBe(false);
});

test("of more values than are asked for at once, those that begin with the word are asked for", async () => {
  const many = Array.from({ length: 1000 }, (_, n) => ({ type: "string", value: `a${n}` }));
  const found = [{ type: "string", value: "z.1" }];
  vi.stubGlobal("fetch", async (url: URL) => {
    asked.push(url);
    const tagValues = url.searchParams.get("q")?.includes("=~") ? found : many;
    return Response.json({ tagValues });
  });
  const complete = source();
  const options = async (marked: string) => {
    const result = await complete(marked);
    return {
      count: result?.options.length,
      last: result?.options.at(-1)?.displayLabel,
      valid: result?.validFor,
    };
  };
  expect(await options("{ span.a = ¦ }")).toMatchObject({ count: 1000, valid: undefined });
  expect(asked).toHaveLength(1);
  expect(await options('{ span.a = "z.¦ }')).toMatchObject({ count: 1001, valid: undefined });
  expect(asked[1].searchParams.get("q")).toBe(String.raw`{ span.a =~ "z\\..*" }`);
  await options("{ span.b = 1 && span.a = z¦ }");
  expect(asked.at(-1)?.searchParams.get("q")).toBe('{ ( span.b = 1 && true ) && span.a =~ "z.*" }');
  await options('{ parent.span.a = "say \\"z¦');
  expect(asked.at(-1)?.searchParams.get("q")).toBe('{ span.a =~ "say \\"z.*" }');
});

test("values of a parent are those of all spans", async () => {
  await offered("{ kind = server && parent.span.http.route = ¦ }");
  await offered("{ parent.http.route = ¦ }");
  const paths = asked.map(({ pathname, search }) => pathname + search);
  expect(paths).toEqual([
    "/ui/api/v2/search/tag/span.http.route/values?start=600&end=1200&limit=1000",
    "/ui/api/v2/search/tag/.http.route/values?start=600&end=1200&limit=1000",
  ]);
});

test("what the language has is offered without asking", async () => {
  expect(await offered("{ span.n ¦")).toContain("=~");
  expect(await offered("{ } ¦")).toContain("&>>");
  expect(await offered("{ } | ¦")).toContain("quantile_over_time(duration, .95)");
  expect(await offered("{ } | rate() | ¦")).toEqual(["topk(10)", "bottomk(10)"]);
  expect(await offered("{ } with (¦")).toContain("most_recent=");
  expect(await offered("{ } with (buckets=¦")).toEqual(["4", "2", "1"]);
  expect(await offered("{ span:status = ¦")).toEqual(["error", "ok", "unset"]);
  expect(await offered("{ trace:duration > ¦")).toContain("500ms");
  expect(await offered("{ } | service_graph(¦")).toContain("errors");
  expect(asked).toEqual([]);
});

test("strings are found with quotes and without", async () => {
  const labels = async (marked: string) => (await source()(marked))?.options.map(({ label }) => label);
  expect((await labels("{ name = ¦"))?.[0]).toBe('say \\"hi\\""');
  expect((await labels('{ name = "s¦'))?.[0]).toBe('"say \\"hi\\""');
  expect((await labels("{ name = `s¦"))?.[0]).toBe('`say \\"hi\\""');
  expect(await offered("{ name = `s¦")).toEqual(['"say \\"hi\\""', "200"]);
  const found = await source()("{ name = ¦");
  expect(found?.options.map((option) => found?.getMatch?.(option, [0, 2]))).toEqual([
    [1, 3],
    [0, 2],
  ]);
});

test("recent queries are offered while nothing is written", async () => {
  const found = await source(new Stored(), ["{ status = error }"])("¦");
  expect(found?.options.map(({ label }) => label)).toEqual(["{ status = error }"]);
  expect(await source()("¦")).toBeNull();
});

test("answers are kept, and asked for again when the range is another", async () => {
  const stored = new Stored();
  await stored.names(RANGE);
  await stored.names({ from: 605, to: 1230 });
  expect(asked.length).toBe(2);
  await stored.names(RANGE);
  expect(asked.length).toBe(2);
  for (let n = 0; n < 60; n += 1) await stored.values(`span.n${n}`, "", RANGE);
  await stored.names(RANGE);
  expect(asked.length).toBe(63);
});

test("a question ends the one before", async () => {
  isSlow = true;
  const stored = new Stored();
  const first = stored.values("span.a", "", RANGE);
  const same = stored.values("span.a", "", RANGE);
  const second = stored.values("span.b", "", RANGE);
  expect([asked.length, aborted]).toEqual([2, 1]);
  expect(await first).toEqual([]);
  expect(await same).toEqual([]);
  waiting[1]();
  expect(await second).toHaveLength(2);
  const third = stored.values("span.c", "", RANGE);
  stored.cancel();
  expect([await third, aborted]).toEqual([[], 2]);
  const again = stored.values("span.a", "", RANGE);
  waiting[3]();
  expect(await again).toHaveLength(2);
});

test("an answer that nobody waits for any more is given up, but not between two letters of a word", async () => {
  vi.useFakeTimers();
  isSlow = true;
  const stored = new Stored();
  const answer = stored.values("span.a", "", RANGE);
  stored.release();
  vi.advanceTimersByTime(200);
  stored.values("span.a", "", RANGE);
  vi.advanceTimersByTime(1000);
  expect([asked.length, aborted]).toEqual([1, 0]);
  stored.release();
  vi.advanceTimersByTime(1000);
  vi.useRealTimers();
  expect([await answer, aborted]).toEqual([[], 1]);
});

test("a place for which nothing is asked gives up what was asked for before", async () => {
  isSlow = true;
  const complete = source();
  const values = complete("{ span.a = ¦");
  expect((await complete("{ span.a = 1 ¦"))?.options[0].label).toBe("&&");
  expect(await values).toBeNull();
  expect([asked.length, aborted]).toEqual([1, 1]);
});

test("values of somebody else are shown so that each character is seen", async () => {
  VALUES.tagValues.push({ type: "string", value: "\u202egnp.exe" });
  const found = await source()("{ name = ¦");
  VALUES.tagValues.pop();
  expect(found?.options.at(-1)?.displayLabel).toBe('"⟦U+202E⟧gnp.exe"');
});
