import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A page whose code comes when it is opened: the first view stays small. */
export function lazy<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  let page: ComponentType<Props> | null = null;
  return function Lazy(props: Props) {
    const [, loaded] = useState(0);
    const [problem, setProblem] = useState(false);
    useEffect(() => {
      if (page) return;
      load().then(
        (found) => {
          page = found;
          loaded(1);
        },
        () => setProblem(true),
      );
    }, []);
    if (page) {
      const Page = page;
      return <Page {...props} />;
    }
    return (
      <main>
        {problem ? (
          <p class="error" role="alert">
            ✕ This page cannot be loaded. The server may have been replaced by another version:{" "}
            <button type="button" class="link" onClick={() => location.reload()}>
              load again
            </button>
          </p>
        ) : (
          <p role="status">reading…</p>
        )}
      </main>
    );
  };
}
