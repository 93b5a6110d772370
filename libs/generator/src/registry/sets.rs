//! Interned label sets.

use std::sync::Arc;

use hashbrown::HashTable;

use super::hyperloglog::Window;
use super::labels::{Label, Labels};

#[derive(Debug)]
pub(super) struct LabelSet {
    pub(super) hash: u64,
    pub(super) labels: Box<[Label]>,
    /// The set for aliases, with `service` renamed.
    pub(super) renamed: Option<Box<[Label]>>,
    /// Number of metrics with a series of it.
    pub(super) uses: u32,
}

/// Memory of a set besides its texts, with the handles by which processors find it, in bytes.
const SET_BYTES: usize = size_of::<LabelSet>() + 256;
/// Memory of a label, the head of its value, and its copy under another name, in bytes.
const LABEL_BYTES: usize = 2 * size_of::<Label>() + 16;

fn value_bytes_of(labels: &[Label]) -> u64 {
    labels.iter().map(|(_, value)| value.len() as u64).sum()
}

/// With the names: those of `traces_target_info` come from clients, and each set may have its own.
fn bytes_of(labels: &[Label]) -> u64 {
    let names: u64 = labels.iter().map(|(name, _)| name.len() as u64).sum();
    (SET_BYTES + labels.len() * LABEL_BYTES) as u64 + names + value_bytes_of(labels)
}

#[derive(Debug)]
pub(super) struct Sets {
    /// Estimated memory of all sets.
    pub(super) bytes: u64,
    /// Of the values of their labels.
    pub(super) value_bytes: u64,
    sets: Vec<LabelSet>,
    free: Vec<u32>,
    index: HashTable<u32>,
    pub(super) demand: Window,
}

impl Default for Sets {
    fn default() -> Self {
        // As many as the default staleness has; more precision is not needed for an estimate.
        Self {
            bytes: 0,
            value_bytes: 0,
            sets: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            demand: Window::new(4),
        }
    }
}

impl Sets {
    pub(super) fn get(&self, id: u32) -> &LabelSet {
        &self.sets[id as usize]
    }

    pub(super) fn find(&self, hash: u64, labels: &Labels) -> Option<u32> {
        let equal = |id: &u32| {
            let set = self.get(*id);
            set.hash == hash && labels.equals(&set.labels)
        };
        self.index.find(hash, equal).copied()
    }

    pub(super) fn insert(&mut self, hash: u64, labels: &Labels) -> u32 {
        let set = LabelSet { hash, labels: labels.to_set(), renamed: None, uses: 0 };
        self.bytes += bytes_of(&set.labels);
        self.value_bytes += value_bytes_of(&set.labels);
        let id = match self.free.pop() {
            Some(id) => {
                self.sets[id as usize] = set;
                id
            }
            None => {
                self.sets.push(set);
                (self.sets.len() - 1) as u32
            }
        };
        let sets = &self.sets;
        self.index.insert_unique(hash, id, |id| sets[*id as usize].hash);
        id
    }

    /// Adds a metric that uses it. Returns true if it is the first.
    pub(super) fn retain(&mut self, id: u32) -> bool {
        let set = &mut self.sets[id as usize];
        set.uses += 1;
        set.uses == 1
    }

    /// Removes a metric that uses it. Returns true if it was the last, and the set was removed.
    pub(super) fn release(&mut self, id: u32) -> bool {
        let set = &mut self.sets[id as usize];
        set.uses = set.uses.saturating_sub(1);
        self.drop_unused(id)
    }

    /// Removes a set that no metric uses. Returns true if it did.
    pub(super) fn drop_unused(&mut self, id: u32) -> bool {
        let set = &mut self.sets[id as usize];
        if set.uses > 0 {
            return false;
        }
        if let Ok(entry) = self.index.find_entry(set.hash, |other| *other == id) {
            entry.remove();
            self.bytes -= bytes_of(&set.labels);
            self.value_bytes -= value_bytes_of(&set.labels);
            set.labels = Box::default();
            set.renamed = None;
            self.free.push(id);
        }
        true
    }

    /// Makes the set for aliases.
    pub(super) fn rename(&mut self, id: u32) {
        let set = &mut self.sets[id as usize];
        if set.renamed.is_some() {
            return;
        }
        let mut labels: Vec<Label> = set.labels.to_vec();
        // A dimension may have the name as well. Without another one for it, different sets would be one series.
        let mut of_dimension = "__service_name".to_owned();
        while labels.iter().any(|label| *label.0 == *of_dimension) {
            of_dimension.insert_str(0, "__");
        }
        for label in &mut labels {
            match &*label.0 {
                "service" => label.0 = Arc::from("service_name"),
                "service_name" => label.0 = Arc::from(of_dimension.as_str()),
                _ => {}
            }
        }
        labels.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        set.renamed = Some(labels.into());
    }
}
