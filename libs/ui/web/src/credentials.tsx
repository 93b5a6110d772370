import { useEffect, useRef, useState } from "preact/hooks";
import { hasToken, loadConfig, refusal, setCredentials, tenant, withoutCredentials } from "./api";

/** What a header can carry. */
const SENT = /^[ -~]*$/;

/** Asks who asks. What is entered stays in this tab. */
export function Credentials() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState(tenant.value);
  const [secret, setSecret] = useState<string | null>(null);
  const [wrong, setWrong] = useState<"tenant" | "token" | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const isAsked = refusal.value !== "";
  const submit = (event: Event) => {
    event.preventDefault();
    const unsent = !SENT.test(name.trim()) ? "tenant" : !SENT.test(secret?.trim() ?? "") ? "token" : null;
    setWrong(unsent);
    if (unsent !== null) return;
    // The server refused the one that is known, unless nothing but another tenant was wanted.
    const kept = isAsked ? "" : null;
    setCredentials(name.trim(), secret?.trim() ?? kept);
    loadConfig().catch(() => {});
  };
  return (
    <dialog ref={dialog} onClose={withoutCredentials} aria-labelledby="credentials-title">
      <form onSubmit={submit}>
        <h2 id="credentials-title">Who asks?</h2>
        {refusal.value && <p role="alert">The server says: {refusal.value}</p>}
        <label>
          Tenant
          <input
            value={name}
            aria-invalid={wrong === "tenant"}
            onInput={(event) => setName(event.currentTarget.value)}
            autocomplete="off"
          />
        </label>
        <label>
          Token
          <input
            type="password"
            value={secret ?? ""}
            placeholder={hasToken() && !isAsked ? "unchanged" : ""}
            aria-invalid={wrong === "token"}
            onInput={(event) => setSecret(event.currentTarget.value)}
            autocomplete="off"
          />
        </label>
        {wrong !== null && (
          <p class="error" role="alert">
            ✕ the {wrong} has characters that cannot be sent
          </p>
        )}
        <p class="muted">Both stay in this tab, and go to this server only.</p>
        <p class="links">
          <button type="submit" class="primary">
            Continue
          </button>
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
        </p>
      </form>
    </dialog>
  );
}
