import { afterEach, expect, test, vi } from "vitest";
import { json, refusal, setCredentials, withoutCredentials } from "../src/api";

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
