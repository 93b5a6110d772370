import { useEffect, useRef, useState } from "preact/hooks";
import { loadConfig, refusal, setCredentials, tenant, withoutCredentials } from "./api";

/** Asks who asks. What is entered stays in this tab. */
export function Credentials() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState(tenant.value);
  const [secret, setSecret] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event: Event) => {
    event.preventDefault();
    setCredentials(name.trim(), secret.trim());
    loadConfig().catch(() => {});
  };
  return (
    <dialog ref={dialog} onClose={withoutCredentials} aria-labelledby="credentials-title">
      <form onSubmit={submit}>
        <h2 id="credentials-title">Who asks?</h2>
        {refusal.value && <p role="alert">The server says: {refusal.value}</p>}
        <label>
          Tenant
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} autocomplete="off" />
        </label>
        <label>
          Token
          <input
            type="password"
            value={secret}
            onInput={(event) => setSecret(event.currentTarget.value)}
            autocomplete="off"
          />
        </label>
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
