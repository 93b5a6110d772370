const PAIRS = 8;
const PATTERNS = ["plain", "striped", "dotted"] as const;

export type Pattern = (typeof PATTERNS)[number];

export function patternOf(number: number): Pattern {
  return PATTERNS[Math.floor(number / PAIRS) % PATTERNS.length];
}

function classesOf(number: number): string {
  return `service-${number % PAIRS} ${patternOf(number)}`;
}

/** 32 bits of FNV-1a over UTF-8. */
export function hash(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return hash >>> 0;
}

const looks = new Map<string, string>();

/** The classes that give a service its colour and pattern: the same in each trace and theme. */
export function look(service: string): string {
  let classes = looks.get(service);
  if (classes === undefined) {
    const bits = hash(service);
    classes = classesOf(bits);
    looks.set(service, classes);
  }
  return classes;
}

/** The first colour of the look, for canvases. */
const COLOURS = [
  ["#a37d63", "#ddb499"],
  ["#879f18", "#cbe66d"],
  ["#659da4", "#a9e4ea"],
  ["#0871c1", "#52a9fe"],
  ["#364ba7", "#6985e7"],
  ["#6e6990", "#bcb8e2"],
  ["#551a76", "#8f57b5"],
  ["#793b6d", "#b572a7"],
];

/** Neighbours are no neighbours among the colours; the ninth begins anew with another pattern: 24 looks. */
function numberOf(at: number): number {
  return Math.floor(at / PAIRS) * PAIRS + ((at * 3 + 3) % PAIRS);
}

/** The colour of a series by its place. */
export function colourOf(at: number, dark: boolean): string {
  return COLOURS[numberOf(at) % PAIRS][dark ? 1 : 0];
}

/** The classes that give a series the colour and pattern of its place. */
export function lookOf(at: number): string {
  return classesOf(numberOf(at));
}

export function colour(service: string, dark: boolean): string {
  return COLOURS[hash(service) % PAIRS][dark ? 1 : 0];
}

/** Two letters for a service: of its first two words, or the first two of its only one. */
export function monogram(service: string): string {
  const words = service.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (words.length === 0) return "–";
  const letters =
    words.length > 1 ? [words[0], words[1]].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  return letters.join("").toUpperCase();
}
