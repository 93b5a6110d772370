/** Marks that one character may carry: more would be drawn over everything above it. */
const MARKS = 8;
const MANY_MARKS = new RegExp(`(\\p{M}{${MARKS}})(\\p{M}+)`, "gu");

/** Controls, and marks that are not seen or change the direction. */
const HIDDEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f\u0080-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Joiners that belong to how a text is written, and show themselves by what is beside them: between the parts of an emoji, in
 * Arabic, and after the marks of Indic letters.
 */
const WRITTEN =
  /(?<=\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]?)\u200d(?=\p{Extended_Pictographic})|(?<=[\p{Script=Arabic}\p{M}])[\u200c\u200d](?=\p{L})/gu;

/** Text of a span so that each character is seen: controls and marks that change the direction have a visible form. */
export function visible(text: string): string {
  const written = new Set<number>();
  if (/[\u200c\u200d]/.test(text)) for (const { index } of text.matchAll(WRITTEN)) written.add(index);
  const seen = text.replace(HIDDEN, (char, at: number) => {
    if (written.has(at)) return char;
    const code = char.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
  });
  return seen.replace(MANY_MARKS, (_, some: string, more: string) => `${some}⟦+${[...more].length} marks⟧`);
}

/** Longer names are cut where they stand among others. */
const LONGEST = 160;

/** What a name is called that may be empty, or so long that there would be room for nothing else. */
export function named(name: string, none = "(no name)"): string {
  if (name.trim() === "") return name === "" ? none : "(blank)";
  return cut(name, LONGEST);
}

/** At most so many of its characters; half of a pair of surrogates is none. */
export function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most).replace(/[\ud800-\udbff]$/, "")}…`;
}

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** A name in a sentence, so that the order of the words around it stays. */
export function inSentence(name: string): string {
  const shown = visible(named(name));
  return RIGHT_TO_LEFT.test(shown) ? `\u2068${shown}\u2069` : shown;
}
