import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

/** Longer values are cut until somebody wants all. */
const SHOWN = 2048;

/** Text of a span so that each character is seen: controls and marks that change the direction have a visible form. */
export function visible(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    /[\u0000-\u0008\u000b-\u001f\u007f\u0080-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (char) => {
      const code = char.charCodeAt(0);
      if (code < 0x20) return String.fromCharCode(0x2400 + code);
      return `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
    },
  );
}

interface Props {
  value: string;
  /** Makes the characters visible. */
  show?(text: string): ComponentChildren;
}

/** A value that somebody else wrote. It is text, whatever it says. */
export function Text({ value, show = visible }: Props) {
  const [all, setAll] = useState(false);
  if (all || value.length <= SHOWN) return <bdi class="value">{show(value)}</bdi>;
  return (
    <>
      <bdi class="value">{show(value.slice(0, SHOWN))}…</bdi>{" "}
      <button type="button" class="link" onClick={() => setAll(true)}>
        show all {value.length} characters
      </button>
    </>
  );
}
