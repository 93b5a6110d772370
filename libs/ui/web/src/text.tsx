import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { cut, named, visible } from "./names";

/** Longer values are cut until somebody wants all. */
const SHOWN = 2048;

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
      <bdi class="value">{show(cut(value, SHOWN))}</bdi>{" "}
      <button type="button" class="link" onClick={() => setAll(true)}>
        show all {value.length} characters
      </button>
    </>
  );
}

interface LabelProps {
  value: string;
  /** What stands for an empty name. */
  none?: string;
}

/** A name that somebody else wrote where there is room for one line: of a link, a button or a row. */
export function Label({ value, none }: LabelProps) {
  const shown = named(value, none);
  return (
    <bdi class="value" title={shown.length < value.length ? visible(cut(value, SHOWN)) : undefined}>
      {visible(shown)}
    </bdi>
  );
}
