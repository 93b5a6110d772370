import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A page whose code comes when it is opened: the first view stays small. With `isOpen` it comes at once. */
export function lazy<Props extends object>(
  load: () => Promise<ComponentType<Props>>,
  isOpen = false,
): ComponentType<Props> {
  let page: ComponentType<Props> | null = null;
  let coming: Promise<ComponentType<Props>> | null = null;
  const come = () => {
    coming ??= load();
    // Asked for again where it did not come.
    coming.catch(() => (coming = null));
    return coming;
  };
  if (isOpen) void come().catch(() => {});
  return function Lazy(props: Props) {
    const [, loaded] = useState(0);
    const [problem, setProblem] = useState(false);
    useEffect(() => {
      if (page) return;
      come().then(
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
            ✕ This page cannot be loaded. The server does not answer, or was replaced by another version:{" "}
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
