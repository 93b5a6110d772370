//! Changes to the tree before it is read: old keys, stand-ins, flat limits.

use crate::yaml::{Content, Key, Node};

mod flat;
mod old_cache;
mod removed;

pub(crate) use flat::{Layout, flat_to_scoped, name_right_places, rewrite_main};
pub(crate) use old_cache::old_cache;

/// A key of the file whose value is looked for elsewhere, or nowhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rewritten {
    pub(crate) from: Vec<String>,
    /// Where the value is now; nothing if it is left out.
    pub(crate) to: Option<Vec<String>>,
    /// What the log says of it.
    pub(crate) warning: Option<String>,
}

/// The keys of a dotted path.
pub(crate) fn keys(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// Applies all rewrites but that of limits to the root of the main file; adds to `rewritten`.
pub(crate) fn rewrite(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    removed::rewrite(root, rewritten);
    stand_in_for_compactor(root, rewritten);
    enable_null_protocols(root);
}

/// Where a Tempo 3 file has what `compactor.compaction` has here; the first counts.
const STAND_INS: [&[&str]; 2] = [
    &["backend_scheduler", "provider", "compaction", "compaction"],
    &["backend_worker", "compaction"],
];

/// How many keys of a path name a section that stands in for the compactor's, where that is not in the file.
pub(crate) fn stands_in(path: &[String]) -> Option<usize> {
    let begins =
        |place: &&[&str]| path.len() >= place.len() && place.iter().zip(path).all(|(a, b)| a == b);
    STAND_INS.iter().copied().find(begins).map(<[&str]>::len)
}

/// A Tempo 3 file keeps its retention in another section: without this, spans of a month would be
/// deleted after the default two weeks.
fn stand_in_for_compactor(root: &mut Node, rewritten: &mut Vec<Rewritten>) {
    if root.get("compactor").is_some_and(|node| !node.is_null()) {
        return;
    }
    for place in STAND_INS {
        let Some(compaction) = at(root, place).filter(|node| node.entries().is_some()).cloned()
        else {
            continue;
        };
        let line = compaction.line;
        let to = ["compactor", "compaction"];
        put(root, &to, compaction, line);
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        rewritten.push(Rewritten { from: owned(place), to: Some(owned(&to)), warning: None });
        return;
    }
}

/// A receiver's protocol with nothing after the colon is on, while null elsewhere is "not set".
fn enable_null_protocols(root: &mut Node) {
    let receivers = root.get_mut("distributor").and_then(|node| node.get_mut("receivers"));
    for (_, receiver) in receivers.and_then(Node::entries_mut).into_iter().flatten() {
        let protocols = receiver.get_mut("protocols").and_then(Node::entries_mut);
        for (_, protocol) in protocols.into_iter().flatten() {
            if protocol.is_null() {
                protocol.content = Content::Map(Vec::new());
            }
        }
    }
}

/// The node at a path of keys.
fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

/// Takes the node at a path out of the tree, with its key.
pub(crate) fn take(node: &mut Node, path: &[&str]) -> Option<(Key, Node)> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(node, |node, key| node.get_mut(key))?;
    let entries = parent.entries_mut()?;
    let position = entries.iter().position(|(key, _)| key.text == *last)?;
    Some(entries.remove(position))
}

/// Puts `value` at a path, making the mappings on the way; never replaces what is there already.
/// False when the place is taken or a scalar is in the way.
pub(crate) fn put(node: &mut Node, path: &[&str], value: Node, line: usize) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if node.is_null() {
        node.content = Content::Map(Vec::new());
    }
    let Some(entries) = node.entries_mut() else { return false };
    let existing = entries.iter().position(|(key, _)| key.text == *first);
    match (existing, rest.is_empty()) {
        (Some(position), false) => put(&mut entries[position].1, rest, value, line),
        (Some(_), true) => false,
        (None, true) => {
            entries.push((Key::new(first, line), value));
            true
        }
        (None, false) => {
            let mut child = Node::map(line, Vec::new());
            let done = put(&mut child, rest, value, line);
            entries.push((Key::new(first, line), child));
            done
        }
    }
}

#[cfg(test)]
mod tests;
