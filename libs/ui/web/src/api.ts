import { signal } from "@preact/signals";
import { keptInTab } from "./kept";

export interface Config {
  version: string;
  tenants: string[];
  limits: {
    searchSeconds: number;
    metricsSeconds: number;
    traceBytes: number;
    traces: number;
    defaultTraces: number;
    fileBytes: number;
  };
  links: LinkTemplate[];
}

/** A link as it is configured: see `links.ts`. */
export interface LinkTemplate {
  title: string;
  url: string;
  match: string;
}

/** An answer that is none, with what the server says. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const TENANT = "tactus.tenant";
const TOKEN = "tactus.token";

/** Who asks. Kept for this tab, never in addresses. */
export const tenant = signal(keptInTab.get(TENANT) ?? "");
const token = signal(keptInTab.get(TOKEN) ?? "");

/** True if a token is known. */
export const hasToken = () => token.value !== "";

/** Why the server wants to know who asks, or "" where somebody wants to say that unasked; null while neither is so. */
export const refusal = signal<string | null>(null);
/** Nobody wanted to say who asks: until somebody does, what needs it fails. */
let isDeclined = false;
let waiting: { resume(): void; stop(): void }[] = [];

/** True once the server wanted to know who asks. */
export const wasAsked = signal(false);

/** Null until the server has told it. */
export const config = signal<Config | null>(null);

/** True once the configuration is known, or cannot be. */
export const isConfigured = signal(false);

/** Counts how often somebody else began to ask: what is shown then is not for them. */
export const caller = signal(0);

/** `newToken`: null to go on with the one that is known. */
export function setCredentials(newTenant: string, given: string | null) {
  const newToken = given ?? token.value;
  const isOther = newTenant !== tenant.value || newToken !== token.value;
  // Without a request that was refused, what is shown is what the caller before was answered.
  const isShown = waiting.length === 0 || (tenant.value !== "" && newTenant !== tenant.value);
  tenant.value = newTenant;
  token.value = newToken;
  keptInTab.set(TENANT, newTenant || null);
  keptInTab.set(TOKEN, newToken || null);
  isDeclined = false;
  refusal.value = null;
  if (isOther && isShown) {
    // Limits, links and queries that were asked before are those of the tenants that the server is yet to name.
    config.value = null;
    isConfigured.value = false;
    caller.value += 1;
  }
  const repeat = waiting;
  waiting = [];
  for (const { resume } of repeat) resume();
}

/** Nobody says who asks: what waited for that fails, and so does what is asked later. */
export function withoutCredentials() {
  // Whoever only looked, and was asked for nothing, is asked when it matters.
  isDeclined ||= waiting.length > 0;
  refusal.value = null;
  const given = waiting;
  waiting = [];
  for (const { stop } of given) stop();
}

function headers(accept: string): Headers {
  const headers = new Headers({ Accept: accept });
  if (tenant.value !== "") headers.set("X-Scope-OrgID", tenant.value);
  if (token.value !== "") headers.set("Authorization", `Bearer ${token.value}`);
  return headers;
}

/** Asks the API. A caller whom the server does not know is asked for a tenant and a token, and then it asks again. */
export async function request(
  path: string,
  accept: string,
  signal?: AbortSignal,
  method = "GET",
  body?: Blob,
  priority: RequestPriority = "auto",
): Promise<Response> {
  for (;;) {
    const url = new URL(`api/${path}`, document.baseURI);
    const [asTenant, withToken] = [tenant.value, token.value];
    const init = { method, headers: headers(accept), signal, body, priority };
    const response = await fetch(url, init).catch((error) => {
      // What fetch throws says nothing that anybody could use.
      throw signal?.aborted ? error : new ApiError(0, "the server does not answer");
    });
    const isForeign = isPage(response);
    if (response.ok && !isForeign) return response;
    const text = isForeign ? saidByOthers(response) : (await arrived(response.text(), signal)).trim();
    if (response.status !== 401) throw new ApiError(response.status, text || response.statusText);
    wasAsked.value = true;
    // Since it was sent somebody has said who asks: nobody has to say that again.
    if (asTenant !== tenant.value || withToken !== token.value) continue;
    const asked = text || "authentication required";
    if (isDeclined) throw new ApiError(401, asked);
    refusal.value = asked;
    await new Promise<void>((resume, stop) => {
      waiting.push({ resume, stop: () => stop(new ApiError(401, asked)) });
      signal?.addEventListener("abort", () => stop(signal.reason));
    });
  }
}

/** What is said of an answer that ends before it is whole. */
const BROKEN_OFF = "the answer broke off: the server could not complete it, or the connection was lost";

/** A part of an answer, or all of it. What browsers throw where there is no more says nothing that anybody could use. */
export function arrived<T>(part: Promise<T>, signal?: AbortSignal): Promise<T> {
  return part.catch((error) => {
    throw signal?.aborted ? error : new ApiError(0, BROKEN_OFF);
  });
}

/** Whether an answer is a page for people: the API has none, but what stands before it may. */
function isPage(response: Response): boolean {
  return (response.headers.get("Content-Type") ?? "").startsWith("text/html");
}

function saidByOthers({ ok, status, statusText }: Response): string {
  if (ok)
    return "something before the server answered with a page of its own: it may want you to sign in again";
  return `something before the server answered ${status} ${statusText}`.trim();
}

/** An answer as JSON. One that is not whole says so itself, as those of streams do, and not in a header. */
export async function json<T>(path: string, signal?: AbortSignal, priority?: RequestPriority): Promise<T> {
  const response = await request(path, "application/json", signal, "GET", undefined, priority);
  const answer = (await arrived(response.json(), signal)) as T;
  return response.headers.has("X-Tactus-Partial") ? { status: "PARTIAL", ...answer } : answer;
}

export async function loadConfig() {
  const asking = caller.peek();
  try {
    const found = await json<Config>("config");
    if (caller.peek() !== asking) return;
    // Tenants may follow from the token alone.
    const known = config.peek()?.tenants.join("|");
    config.value = found;
    if (known !== undefined && known !== found.tenants.join("|")) caller.value += 1;
  } finally {
    if (caller.peek() === asking) isConfigured.value = true;
  }
}

/** What to show of an error; null if nobody waits for the answer any more. */
export function reason(error: unknown): string | null {
  if (error instanceof DOMException && error.name === "AbortError") return null;
  // Those that are not our own have a name that tells more.
  return error instanceof Error && error.name === "Error" ? error.message : String(error);
}
