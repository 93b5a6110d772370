/** What went wrong, if anything did; it is said aloud. */
export function ErrorMessage({ text }: { text: string | null }) {
  if (text === null) return null;
  return (
    <p class="error" role="alert">
      ✕ {text}
    </p>
  );
}
