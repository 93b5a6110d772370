//! The key column: where each owner's attributes start, and which of them are wanted.

use std::convert::Infallible;

use tactus_model::AttributeSelection;

use crate::Result;
use crate::decoding::DecodeResult;
use crate::read::chunk::{Needs, PageLevels};
use crate::read::columns::Leaf;
use crate::read::level_words::{count, for_each_word};
use crate::read::spine::add_starts;
use crate::read::strings::StringPool;
use crate::read::task::Task;
use crate::read::values::Strings;

/// The wanted attributes of all owners.
#[derive(Debug, Default)]
pub(crate) struct KeyScan {
    /// For each owner the index of its first wanted attribute, and the end. Empty if no key is wanted.
    pub(super) starts: Vec<u32>,
    /// Key code of each wanted attribute.
    pub(super) keys: Vec<u32>,
    /// The position of each wanted attribute among all; `None` if all are wanted.
    pub(super) ordinals: Option<Vec<u32>>,
    /// Attributes, wanted or not.
    pub(super) attributes: usize,
    /// Entries of the key column, including those of owners without attributes.
    pub(super) entries: usize,
}

impl KeyScan {
    /// Of a scan of all attributes, those whose key has one of these codes, without where those of an owner start.
    pub(super) fn picked(&self, codes: &[u32]) -> Self {
        // By code: a query may name thousands of keys.
        let mut wanted = vec![false; codes.iter().max().map_or(0, |&code| code as usize + 1)];
        for &code in codes {
            wanted[code as usize] = true;
        }
        let is_wanted = |code: u32| wanted.get(code as usize) == Some(&true);
        let found = (0u32..).zip(&self.keys).filter(|(_, code)| is_wanted(**code));
        let (ordinals, keys) = found.unzip();
        let Self { attributes, entries, .. } = *self;
        Self { starts: Vec::new(), keys, ordinals: Some(ordinals), attributes, entries }
    }

    /// True if no attribute is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Reads the key column of a list with owners at `level`.
///
/// If only some keys are wanted, and the chunk's dictionary has none of them, nothing else is read.
pub(crate) fn scan_keys(
    task: &mut Task<'_>,
    leaf: Leaf,
    level: u8,
    selection: &AttributeSelection,
    owners: usize,
) -> Result<KeyScan> {
    if task.is_all_null(leaf) {
        return Ok(KeyScan::default());
    }
    let mut scan = KeyScan { entries: task.entries(leaf), ..KeyScan::default() };
    let mut attributes = 0;
    let needs = Needs { rep: true, def: true };
    match selection {
        AttributeSelection::None => return Ok(scan),
        AttributeSelection::Names(_) | AttributeSelection::All => {
            let (starts, keys) = (&mut scan.starts, &mut scan.keys);
            starts.reserve(owners + 1);
            keys.reserve(task.entries_to_read(leaf));
            task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
                add_starts(page, level, starts, &mut attributes);
                strings.resolve_all(pool, keys)
            })?;
            scan.starts.push(attributes);
        }
        AttributeSelection::Keys(_) => {
            if !task.dictionary_may_have(leaf, &|key| selection.wants(key))? {
                return Ok(KeyScan::default());
            }
            let mut picker = Picker::new(level, selection);
            task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
                picker.page(page, strings, pool)
            })?;
            attributes = picker.attributes;
            picker.starts.push(picker.keys.len() as u32);
            scan.starts = picker.starts;
            scan.keys = picker.keys;
            scan.ordinals = Some(picker.ordinals);
        }
    }
    scan.attributes = attributes as usize;
    task.expect(leaf, scan.starts.len(), owners + 1)?;
    if scan.ordinals.is_none() {
        task.expect(leaf, scan.keys.len(), scan.attributes)?;
    }
    Ok(scan)
}

/// Picks the attributes with wanted keys.
struct Picker<'s> {
    level: u8,
    selection: &'s AttributeSelection,
    /// For each local code: 1 if the key is wanted.
    wanted: Vec<u8>,
    /// The only local code of a wanted key, if there is one.
    only: Option<u32>,
    /// For each value of the page, 1 if its key is wanted; with eight more bytes.
    flags: Vec<u8>,
    /// True if `wanted` refers to the chunk's dictionary, not to a single page.
    of_dictionary: bool,
    starts: Vec<u32>,
    keys: Vec<u32>,
    ordinals: Vec<u32>,
    attributes: u32,
}

impl<'s> Picker<'s> {
    fn new(level: u8, selection: &'s AttributeSelection) -> Self {
        Self {
            level,
            selection,
            wanted: Vec::new(),
            only: None,
            flags: Vec::new(),
            of_dictionary: false,
            starts: Vec::new(),
            keys: Vec::new(),
            ordinals: Vec::new(),
            attributes: 0,
        }
    }

    fn page(
        &mut self,
        page: PageLevels<'_>,
        strings: &mut Strings,
        pool: &mut StringPool,
    ) -> DecodeResult<()> {
        if !(self.of_dictionary && strings.has_codes()) {
            self.of_dictionary = strings.has_codes();
            self.wanted.clear();
            let keys = (0..strings.local_len() as u32).map(|local| strings.bytes(local));
            self.wanted.extend(keys.map(|key| u8::from(self.selection.wants(key))));
            let mut wanted = (0..).zip(&self.wanted).filter(|(_, wanted)| **wanted != 0);
            self.only = match (wanted.next(), wanted.next()) {
                (Some((local, _)), None) => Some(local),
                _ => None,
            };
        }
        let Self { flags, wanted, .. } = self;
        flags.clear();
        match self.only {
            // Compared many at a time.
            Some(only) => flags.extend(strings.local.iter().map(|&local| u8::from(local == only))),
            None => flags.extend(strings.local.iter().map(|&local| wanted[local as usize])),
        }
        if flags.iter().all(|&flag| flag == 0) {
            self.pass_over(page);
            return Ok(());
        }
        self.flags.extend([0; 8]);
        self.pick(page, strings, pool)
    }

    /// A page without a wanted key: only owners count.
    fn pass_over(&mut self, page: PageLevels<'_>) {
        let (mut owners, mut attributes) = (0, 0);
        let done: Result<(), Infallible> = for_each_word(page, |word| {
            owners += count(word.defined_to(self.level) & !word.repeats_below(self.level));
            attributes += count(word.defined_to(self.level + 1));
            Ok(())
        });
        let Ok(()) = done;
        self.start_owners(owners);
        self.attributes += attributes as u32;
    }

    fn start_owners(&mut self, owners: usize) {
        self.starts.resize(self.starts.len() + owners, self.keys.len() as u32);
    }

    fn pick(
        &mut self,
        page: PageLevels<'_>,
        strings: &mut Strings,
        pool: &mut StringPool,
    ) -> DecodeResult<()> {
        let mut value = 0;
        for_each_word(page, |word| {
            let mut owners = word.defined_to(self.level) & !word.repeats_below(self.level);
            let mut entries = word.defined_to(self.level + 1);
            let next = self.flags.get(value..).and_then(|flags| flags.first_chunk::<8>()).copied();
            if next == Some([0; 8]) {
                let passed = count(entries);
                self.attributes += passed as u32;
                value += passed;
                self.start_owners(count(owners));
                return Ok(());
            }
            if count(entries) == 8
                && let Some(flags) = next
            {
                // Every entry is a value, so the flags of values are those of entries.
                let mut marks = u64::from_le_bytes(flags) << 7;
                while marks != 0 {
                    let place = marks.trailing_zeros() / 8;
                    let before = owners & (marks ^ (marks - 1));
                    self.start_owners(count(before));
                    owners ^= before;
                    let local = strings.local[value + place as usize];
                    self.keys.push(strings.resolve(local, pool)?);
                    self.ordinals.push(self.attributes + place);
                    marks &= marks - 1;
                }
                self.attributes += 8;
                value += 8;
                self.start_owners(count(owners));
                return Ok(());
            }
            while entries != 0 {
                let local = strings.local[value];
                if self.wanted[local as usize] != 0 {
                    // Owners up to this entry start before its attribute.
                    let before = owners & (entries ^ (entries - 1));
                    self.start_owners(count(before));
                    owners ^= before;
                    self.keys.push(strings.resolve(local, pool)?);
                    self.ordinals.push(self.attributes);
                }
                self.attributes += 1;
                value += 1;
                entries &= entries - 1;
            }
            self.start_owners(count(owners));
            Ok(())
        })
    }
}
