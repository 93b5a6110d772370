//! Places in a tree of YAML: leaves with their lines, renaming, removing.

use super::*;
use crate::yaml::Key;

/// A value of the file that has no keys below it.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// Nothing stands after the colon.
    pub(super) is_null: bool,
}

/// All leaves, in order. A list is one leaf unless its items have keys.
pub(super) fn leaves(root: &Node) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(root, &mut Vec::new(), root.line, &mut found);
    found
}

fn collect(node: &Node, path: &mut Vec<String>, line: usize, found: &mut Vec<Leaf>) {
    let mut inside = |key: String, node: &Node, line: usize| {
        path.push(key);
        collect(node, path, line, found);
        path.pop();
    };
    match &node.content {
        Content::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                inside(key.text.clone(), value, key.line);
            }
        }
        Content::List(items) if items.iter().any(|item| item.entries().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                inside(index.to_string(), item, item.line);
            }
        }
        // An empty document has no keys at all.
        _ if path.is_empty() => {}
        _ => found.push(Leaf { path: path.clone(), line, is_null: node.is_null() }),
    }
}

/// The node at a path of keys and indexes.
pub(super) fn node_at<'a>(root: &'a Node, path: &[String]) -> Option<&'a Node> {
    path.iter().try_fold(root, |node, key| match &node.content {
        Content::List(items) => items.get(key.parse::<usize>().ok()?),
        Content::Map(_) | Content::Scalar(_) => node.get(key),
    })
}

fn node_at_mut<'a>(root: &'a mut Node, path: &[String]) -> Option<&'a mut Node> {
    path.iter().try_fold(root, |node, key| match &mut node.content {
        Content::List(items) => items.get_mut(key.parse::<usize>().ok()?),
        Content::Map(entries) => {
            entries.iter_mut().find(|(found, _)| found.text == *key).map(|(_, node)| node)
        }
        Content::Scalar(_) => None,
    })
}

/// Renames keys in place, unless the new name is taken.
pub(super) fn rename(
    root: &mut Node,
    names: Vec<(String, String)>,
    rewritten: &mut Vec<Rewritten>,
) {
    for (old, new) in names {
        let (from, to) = (keys(&old), keys(&new));
        let Some((last, parent)) = from.split_last() else { continue };
        let Some(entries) = node_at_mut(root, parent).and_then(Node::entries_mut) else { continue };
        let (Some(position), Some(name)) =
            (entries.iter().position(|(key, _)| key.text == *last), to.last())
        else {
            continue;
        };
        if entries.iter().any(|(key, _)| key.text == *name) {
            continue;
        }
        name.clone_into(&mut entries[position].0.text);
        rewritten.push(Rewritten { from, to: Some(to), warning: None });
    }
}

/// Takes a key out, and the mappings that it leaves empty; those of receivers stay, since a protocol without keys is on.
pub(super) fn remove(root: &mut Node, path: &[String]) {
    let Some((last, parent)) = path.split_last() else { return };
    let Some(node) = node_at_mut(root, parent) else { return };
    let Some(entries) = node.entries_mut() else { return };
    let before = entries.len();
    entries.retain(|(key, _)| key.text != *last);
    let is_empty = entries.is_empty() && before > 0;
    let receiver = path.len() > 3 && path[0] == "distributor" && path[1] == "receivers";
    if is_empty && !receiver {
        remove(root, parent);
    }
}

/// Gives a key a value.
pub(super) fn set(root: &mut Node, path: &[String], value: &str) {
    let value = Node::scalar(value, true);
    if let Some(node) = node_at_mut(root, path) {
        node.content = value.content;
        return;
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    rewrite::put(root, &path, value, 0);
}

/// Leaves the first of keys that stand twice, as the reader takes it.
pub(super) fn without_duplicates(node: &mut Node) {
    match &mut node.content {
        Content::Map(entries) => {
            let mut seen = std::collections::HashSet::new();
            entries.retain(|(key, _): &(Key, Node)| seen.insert(key.text.clone()));
            entries.iter_mut().for_each(|(_, node)| without_duplicates(node));
        }
        Content::List(items) => items.iter_mut().for_each(without_duplicates),
        Content::Scalar(_) => {}
    }
}

/// Notes at each value of an expanded file what stands in the file. False if the two have another shape.
pub(super) fn annotate(node: &mut Node, with_tokens: &Node, held: &Held) -> bool {
    match (&mut node.content, &with_tokens.content) {
        (Content::Scalar(scalar), Content::Scalar(token)) => {
            if held.is_in(&token.text) {
                scalar.written = Some(token.text.clone());
                scalar.plain = token.plain;
            }
            true
        }
        (Content::List(items), Content::List(tokens)) => {
            items.len() == tokens.len()
                && items.iter_mut().zip(tokens).all(|(item, token)| annotate(item, token, held))
        }
        (Content::Map(entries), Content::Map(tokens)) => {
            entries.len() == tokens.len()
                && entries
                    .iter_mut()
                    .zip(tokens)
                    .all(|((_, value), (_, token))| annotate(value, token, held))
        }
        _ => false,
    }
}
