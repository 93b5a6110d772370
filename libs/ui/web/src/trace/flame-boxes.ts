import { type Call, callOf, type Path } from "./paths";

/** Boxes narrower than this share of the width are not drawn; what they take is told. */
const NARROWEST = 0.001;
export const DEEPEST = 200;

/** A call and where it is drawn: shares of the width. */
export interface Box {
  call: Call;
  depth: number;
  left: number;
  width: number;
}

/** Boxes of a part of a trace, that itself first. */
export interface Flame {
  boxes: Box[];
  /** Calls that are too narrow, and those that are too far below. */
  hidden: number;
  deeper: number;
  /** How many boxes are below each other. */
  depth: number;
}

/** Boxes of a tree, the widest first within their parent; a child is as wide as its share of own time. */
export function flame(root: Path): Flame {
  const found: Flame = { boxes: [], hidden: 0, deeper: 0, depth: 0 };
  const waiting = [{ path: root, depth: 0, left: 0, width: 1 }];
  for (let box = waiting.pop(); box; box = waiting.pop()) {
    const { path, ...place } = box;
    found.boxes.push({ call: callOf(path), ...place });
    found.depth = Math.max(found.depth, box.depth + 1);
    let left = box.left;
    for (const below of [...path.children.values()].sort((a, b) => b.weight - a.weight)) {
      const width = root.weight > 0 ? below.weight / root.weight : 0;
      if (width < NARROWEST) found.hidden += 1;
      else if (box.depth >= DEEPEST) found.deeper += 1;
      else waiting.push({ path: below, depth: box.depth + 1, left, width });
      left += width;
    }
  }
  return found;
}
