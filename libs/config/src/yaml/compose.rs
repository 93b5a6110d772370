//! Parser events to a tree: anchors, aliases, merge keys.

use super::{Content, Key, Node, Scalar, SyntaxError, lenient};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Reading is recursive, so a hostile file must not choose the depth.
const MAX_DEPTH: usize = 100;
/// Nodes of a document. Ten thousand tenants with many limits each need half a million.
const MAX_NODES: usize = 5_000_000;
/// Estimated memory of what is copied for anchors and aliases: stops the "billion laughs".
const MAX_COPIED_BYTES: usize = 32 << 20;

/// The first document of `text`; an empty text is an empty mapping.
///
/// Errors: not YAML, a mapping key that is no scalar, an unknown or recursive alias, too deep or
/// too large after expansion.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    read(text, false)
}

/// As [`parse`], of a text that holds nothing else.
///
/// Errors: those of [`parse`]; a second document.
pub fn parse_alone(text: &str) -> Result<Node, SyntaxError> {
    read(text, true)
}

/// Whether a text has a second document, which [`parse`] leaves aside. One without content is none.
pub(crate) fn has_second_document(text: &str) -> bool {
    // Nearly no text has one, and large ones need not be looked at twice.
    if !text.lines().any(|line| line.starts_with("---") || line.starts_with("...")) {
        return false;
    }
    let mut documents = 0;
    for (event, _) in Parser::new_from_str(text).map_while(Result::ok) {
        let has_content = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                false
            }
            Event::Scalar(text, ..) => !matches!(&*text, "" | "~"),
            Event::SequenceStart(..) | Event::MappingStart(..) => true,
            _ => false,
        };
        if has_content && documents > 1 {
            return true;
        }
    }
    false
}

fn read(text: &str, alone: bool) -> Result<Node, SyntaxError> {
    compose(text, alone).or_else(|error| {
        let relaxed = lenient::relaxed(text, &error.cause);
        relaxed.and_then(|text| compose(&text, alone).ok()).ok_or(error)
    })
}

fn compose(text: &str, alone: bool) -> Result<Node, SyntaxError> {
    let mut composer = Composer::default();
    let mut has_ended = false;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| SyntaxError {
            line: error.marker().line(),
            column: Some(error.marker().col() + 1),
            cause: error.info().to_owned(),
        })?;
        let (line, column) = (span.start.line(), span.start.col() + 1);
        match event {
            Event::DocumentEnd if !alone => break,
            Event::DocumentEnd => has_ended = true,
            Event::DocumentStart(_) if has_ended => {
                let cause = "a second document".to_owned();
                return Err(SyntaxError { line, column: Some(column), cause });
            }
            event => composer.event(event, line).map_err(|error| match error.line == line {
                true => SyntaxError { column: Some(column), ..error },
                false => error,
            })?,
        }
    }
    Ok(composer.root.unwrap_or_else(|| Node::map(1, Vec::new())))
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Size)>,
    size: Size,
    copied: usize,
    root: Option<Node>,
}

/// How large a part of a document is, its aliases expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    /// Of texts.
    bytes: usize,
}

impl Size {
    fn since(self, before: Self) -> Self {
        Self { nodes: self.nodes - before.nodes, bytes: self.bytes - before.bytes }
    }

    /// Estimated memory.
    fn memory(self) -> usize {
        self.bytes.saturating_add(self.nodes.saturating_mul(size_of::<(Key, Node)>()))
    }
}

/// A collection whose end has not come yet.
struct Open {
    line: usize,
    anchor: usize,
    /// What there was before it started: tells its size when it ends.
    before: Size,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<(Key, Node)>, Option<Key>),
}

impl Composer {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tagged(&tag, "str");
                // `!!int "5"` asks for the plain reading of a quoted text.
                let plain = plain || ["int", "float", "bool"].iter().any(|name| tagged(&tag, name));
                let scalar = Scalar { text: text.into_owned(), plain, written: None };
                let size = Size { nodes: 1, bytes: scalar.text.len() };
                self.count(size, line)?;
                self.finish(Node { line, content: Content::Scalar(scalar) }, anchor, size)
            }
            Event::SequenceStart(anchor, _) => self.start(line, anchor, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.start(line, anchor, Items::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(&anchor).map(|(_, size)| *size) else {
                    return Err(SyntaxError::new(line, "anchor value contains itself"));
                };
                self.count(size, line)?;
                self.count_copy(size, line)?;
                match self.anchors.get(&anchor).map(|(node, _)| node.clone()) {
                    Some(node) => self.finish(node, 0, size),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, line: usize, anchor: usize, items: Items) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(SyntaxError::new(line, "document is nested too deeply"));
        }
        let before = self.size;
        self.count(Size { nodes: 1, bytes: 0 }, line)?;
        self.open.push(Open { line, anchor, before, items });
        Ok(())
    }

    fn end(&mut self, line: usize) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.items {
            Items::List(items) => Content::List(items),
            Items::Map(entries, _) => Content::Map(merge(entries)?),
        };
        // The depth of an aliased part is not seen while events come in.
        if self.open.is_empty() && depth(&content) > MAX_DEPTH {
            return Err(SyntaxError::new(line, "document is nested too deeply"));
        }
        let size = self.size.since(open.before);
        self.finish(Node { line: open.line, content }, open.anchor, size)
    }

    fn finish(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), SyntaxError> {
        if anchor > 0 {
            self.count_copy(size, node.line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map(entries, pending)) => match pending.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Content::Scalar(scalar) = node.content else {
                        return Err(SyntaxError::new(node.line, "mapping key is not a scalar"));
                    };
                    *pending = Some(Key { text: scalar.text, line: node.line, merged: false });
                }
            },
        }
        Ok(())
    }

    fn count(&mut self, size: Size, line: usize) -> Result<(), SyntaxError> {
        self.size.nodes = self.size.nodes.saturating_add(size.nodes);
        self.size.bytes = self.size.bytes.saturating_add(size.bytes);
        if self.size.nodes > MAX_NODES {
            let cause = format!("document has more than {MAX_NODES} keys and values");
            return Err(SyntaxError::new(line, &cause));
        }
        Ok(())
    }

    /// A part is about to be copied.
    fn count_copy(&mut self, size: Size, line: usize) -> Result<(), SyntaxError> {
        self.copied = self.copied.saturating_add(size.memory());
        if self.copied > MAX_COPIED_BYTES {
            let most = MAX_COPIED_BYTES >> 20;
            let cause =
                format!("document contains excessive aliasing (limit: {most} MiB of copies)");
            return Err(SyntaxError::new(line, &cause));
        }
        Ok(())
    }
}

fn tagged(tag: &Option<Cow<'_, Tag>>, name: &str) -> bool {
    tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == name)
}

/// Puts the entries of `<<` maps in, weaker than the map's own; of several, the first wins.
fn merge(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, SyntaxError> {
    if !entries.iter().any(|(key, _)| key.text == "<<") {
        return Ok(entries);
    }
    let (sources, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.text == "<<");
    let mut known: HashSet<String> = own.iter().map(|(key, _)| key.text.clone()).collect();
    for (key, source) in sources {
        let maps = match source.content {
            Content::List(maps) => maps,
            content => vec![Node { line: source.line, content }],
        };
        for map in maps {
            let Content::Map(inherited) = map.content else {
                let cause = "map merge requires map or sequence of maps as the value";
                return Err(SyntaxError::new(key.line, cause));
            };
            for (inherited_key, node) in inherited {
                if known.insert(inherited_key.text.clone()) {
                    own.push((Key { merged: true, ..inherited_key }, node));
                }
            }
        }
    }
    Ok(own)
}

fn depth(content: &Content) -> usize {
    let mut deepest = 0;
    let mut rest = vec![(content, 1)];
    while let Some((content, level)) = rest.pop() {
        deepest = deepest.max(level);
        match content {
            Content::Scalar(_) => {}
            Content::List(items) => {
                rest.extend(items.iter().map(|node| (&node.content, level + 1)));
            }
            Content::Map(entries) => {
                rest.extend(entries.iter().map(|(_, node)| (&node.content, level + 1)));
            }
        }
    }
    deepest
}
