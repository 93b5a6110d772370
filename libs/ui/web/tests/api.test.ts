import { afterEach, expect, test, vi } from "vitest";
import {
  ApiError,
  caller,
  config,
  isConfigured,
  json,
  loadConfig,
  reason,
  refusal,
  setCredentials,
  withoutCredentials,
} from "../src/api";

function answers(status: number, type: string, body: string, statusText = "") {
  vi.stubGlobal(
    "fetch",
    async () => new Response(body, { status, statusText, headers: { "Content-Type": type } }),
  );
}

afterEach(() => {
  vi.unstubAllGlobals();
  setCredentials("", "");
});

test("a page of a proxy is not shown as an error, nor read as an answer", async () => {
  answers(502, "text/html", "<html><h1>Bad gateway</h1></html>", "Bad Gateway");
  await expect(json("config")).rejects.toThrow("something before the server answered 502 Bad Gateway");
  answers(200, "text/html; charset=utf-8", "<html>Sign in</html>");
  await expect(json("config")).rejects.toThrow("it may want you to sign in again");
  answers(400, "text/plain", "no such range");
  await expect(json("config")).rejects.toThrow("no such range");
});

test("an answer that breaks off says so, and not what a browser says", async () => {
  answers(200, "application/json", '{"traces":[');
  await expect(json("search")).rejects.toThrow("the answer broke off");
  const body = new ReadableStream({ pull: (controller) => controller.error(new TypeError("network error")) });
  vi.stubGlobal("fetch", async () => new Response(body));
  await expect(json("search")).rejects.toThrow("the answer broke off");
});

test("what is shown of an error is its sentence alone", () => {
  expect(reason(new ApiError(503, "no querier is ready"))).toBe("no querier is ready");
  expect(reason(new Error("the query failed"))).toBe("the query failed");
  expect(reason(new TypeError("x is undefined"))).toBe("TypeError: x is undefined");
  expect(reason(new DOMException("", "AbortError"))).toBeNull();
});

test("what waits for somebody to say who asks fails when nobody does, until somebody does", async () => {
  answers(401, "text/plain", "no token");
  const waiting = json("config");
  await vi.waitFor(() => expect(refusal.value).toBe("no token"));
  withoutCredentials();
  await expect(waiting).rejects.toThrow("no token");
  await expect(json("config")).rejects.toThrow("no token");
  expect(refusal.value).toBeNull();
  setCredentials("a", "b");
  const again = json("config");
  await vi.waitFor(() => expect(refusal.value).toBe("no token"));
  answers(200, "application/json", "7");
  setCredentials("a", "c");
  expect(await again).toBe(7);
});

test("answer 401 to what was sent before somebody said who asks is not asked about again", async () => {
  let late = (_: Response) => {};
  const sent: (string | null)[] = [];
  vi.stubGlobal("fetch", (_: URL, { headers }: { headers: Headers }) => {
    sent.push(headers.get("Authorization"));
    if (sent.length === 1) return new Promise<Response>((resolve) => (late = resolve));
    return Promise.resolve(new Response("7", { headers: { "Content-Type": "application/json" } }));
  });
  const asked = json("search");
  setCredentials("a", "b");
  late(new Response("no token", { status: 401 }));
  expect(await asked).toBe(7);
  expect([refusal.value, ...sent]).toEqual([null, null, "Bearer b"]);
});

test("what is known of a tenant is forgotten with its token, and asked for anew", async () => {
  const answered = (tenant: string) =>
    answers(200, "application/json", JSON.stringify({ tenants: [tenant] }));
  answered("a");
  await loadConfig();
  expect([config.value?.tenants, isConfigured.value]).toEqual([["a"], true]);
  const early = loadConfig();
  setCredentials("", "of b");
  expect([config.value, isConfigured.value]).toEqual([null, false]);
  // What the caller before was answered is nothing to this one.
  await early;
  expect([config.value, isConfigured.value]).toEqual([null, false]);
  answered("b");
  await loadConfig();
  expect([config.value, isConfigured.value]).toEqual([{ tenants: ["b"] }, true]);
});

test("page begins anew when the server names another tenant", async () => {
  const before = caller.value;
  for (const tenant of ["b", "b", "c"]) {
    answers(200, "application/json", JSON.stringify({ tenants: [tenant] }));
    await loadConfig();
  }
  expect(caller.value).toBe(before + 1);
});
