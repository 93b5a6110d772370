import { useEffect } from "preact/hooks";
import { address, navigate, params, setParams } from "../router";
import { traceId } from "../search/query";

const SIDES = ["a", "b"] as const;

/** Asks which two traces to compare. */
export function PairPage() {
  useEffect(() => {
    document.title = "Compare – Tactus";
  }, []);
  const texts = SIDES.map((side) => params.value.get(side) ?? "");
  const [a, b] = texts.map((text) => traceId(text)?.trace);
  return (
    <main>
      <h1>Compare two traces</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (a && b) navigate(address(`compare/${a}...${b}`));
        }}
      >
        {SIDES.map((side, at) => {
          const isWrong = texts[at].trim() !== "" && !traceId(texts[at]);
          return (
            <p key={side}>
              <label>
                Trace id {side.toUpperCase()}{" "}
                <input
                  class="mono id"
                  value={texts[at]}
                  spellcheck={false}
                  autocomplete="off"
                  aria-invalid={isWrong ? "true" : undefined}
                  onInput={(event) => setParams({ [side]: event.currentTarget.value || null })}
                />
              </label>
              {isWrong && <span class="error"> ✕ not the id of a trace</span>}
            </p>
          );
        })}
        <button type="submit" class="primary" disabled={!a || !b}>
          Compare
        </button>
      </form>
      <p class="hint">
        Or <a href={address("search")}>search for traces</a> and mark two of them.
      </p>
    </main>
  );
}
