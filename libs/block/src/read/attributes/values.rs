//! The value columns of generic attributes.

use tactus_model::ValueType;

use crate::Result;
use crate::decoding::DecodeResult;
use crate::read::chunk::Needs;
use crate::read::columns::{AttributeColumns, Leaf};
use crate::read::strings::StringPool;
use crate::read::task::Task;
use crate::read::values::{Flags, Strings, Words};

use super::arrays::{Arrays, array_of};
use super::keys::KeyScan;
use super::messages::{from_either, from_json};
use super::walk::Walker;
use super::{NOTHING, Values};

/// Which attributes are arrays.
#[derive(Debug)]
enum ArrayFlags {
    None,
    /// By target.
    Known(Vec<u8>),
    /// The file does not say. Attributes with several values are arrays.
    Unknown,
}

/// Reads the values of the wanted attributes. The first column with a value provides it. This also recognises empty
/// arrays. An attribute without any value keeps the type [`NOTHING`].
pub(super) fn read_values(
    task: &mut Task<'_>,
    leaves: &AttributeColumns,
    level: u8,
    keys: &KeyScan,
) -> Result<Values> {
    let count = keys.keys.len();
    let flags = read_flags(task, leaves.is_array, keys)?;
    let mut values = Values { types: vec![NOTHING; count], payloads: vec![0; count] };
    let columns = [
        (leaves.string, ValueType::String),
        (leaves.int, ValueType::Int),
        (leaves.double, ValueType::Double),
        (leaves.bool, ValueType::Bool),
    ];
    for (leaf, scalar) in columns {
        if let Some(leaf) = leaf.filter(|leaf| has_use(task, *leaf, &values)) {
            read_typed(task, leaf, scalar, level + 1, keys, &flags, &mut values)?;
        }
    }
    let encoded = [
        (leaves.unsupported, from_json as FromBytes),
        (leaves.key_values, from_json),
        (leaves.array, from_json),
        (leaves.message, from_either),
    ];
    for (leaf, read) in encoded {
        if let Some(leaf) = leaf.filter(|leaf| has_use(task, *leaf, &values)) {
            read_encoded(task, leaf, read, level + 1, keys, &mut values)?;
        }
    }
    if let ArrayFlags::Known(flags) = flags {
        let encoded = tactus_model::any_value::encode_array(std::iter::empty());
        for (target, _) in flags.iter().enumerate().filter(|(_, flag)| **flag != 0) {
            if values.types[target] == NOTHING {
                values.types[target] = ValueType::EmptyArray as u8;
                values.payloads[target] = u64::from(task.intern(leaves.key, &encoded)?);
            }
        }
    }
    Ok(values)
}

/// False if a column has no values, or if every attribute already has one.
fn has_use(task: &Task<'_>, leaf: Leaf, values: &Values) -> bool {
    !task.is_all_null(leaf) && values.types.contains(&NOTHING)
}

fn read_flags(task: &mut Task<'_>, leaf: Option<Leaf>, keys: &KeyScan) -> Result<ArrayFlags> {
    let Some(leaf) = leaf else { return Ok(ArrayFlags::Unknown) };
    if task.is_all_false(leaf) {
        return Ok(ArrayFlags::None);
    }
    let mut all = Vec::new();
    task.pages(leaf, Needs::default(), &mut Flags::default(), |_, flags, _| {
        all.extend_from_slice(&flags.values);
        Ok(())
    })?;
    task.expect(leaf, all.len(), keys.attributes)?;
    let known = match &keys.ordinals {
        None => all,
        Some(ordinals) => ordinals.iter().map(|&ordinal| all[ordinal as usize]).collect(),
    };
    Ok(if known.contains(&1) { ArrayFlags::Known(known) } else { ArrayFlags::None })
}

fn read_typed(
    task: &mut Task<'_>,
    leaf: Leaf,
    scalar: ValueType,
    slot_level: u8,
    keys: &KeyScan,
    flags: &ArrayFlags,
    values: &mut Values,
) -> Result<()> {
    // If it has as many entries as the key column, no attribute has two values, and entries correspond to keys.
    let needs = Needs { rep: task.entries(leaf) != keys.entries, def: true };
    let mut walker =
        Walker::new(slot_level, leaf.max_def, keys.attributes, keys.ordinals.as_deref());
    let mut filler = Filler { scalar, flags, values, arrays: Arrays::default(), last_scalar: None };
    match scalar {
        ValueType::String => {
            task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
                walker.page(page, |target, continues, value| {
                    let local = strings.local[value];
                    let payload = || strings.resolve(local, pool).map(u64::from);
                    filler.put(target, continues, payload)
                })
            })?;
        }
        ValueType::Bool => {
            task.pages(leaf, needs, &mut Flags::default(), |page, flags, _| {
                walker.page(page, |target, continues, value| {
                    filler.put(target, continues, || Ok(u64::from(flags.values[value])))
                })
            })?;
        }
        _ => {
            task.pages(leaf, needs, &mut Words::default(), |page, words, _| {
                walker.page(page, |target, continues, value| {
                    filler.put(target, continues, || Ok(words.values[value]))
                })
            })?;
        }
    }
    let arrays = filler.arrays;
    let settled =
        walker.finish().and_then(|()| arrays.settle(scalar, &mut values.payloads, &mut task.pool));
    settled.map_err(|error| task.corrupt(leaf, error))
}

/// Takes the values of one column.
struct Filler<'v> {
    scalar: ValueType,
    flags: &'v ArrayFlags,
    values: &'v mut Values,
    arrays: Arrays,
    /// The target that got its scalar last.
    last_scalar: Option<usize>,
}

impl Filler<'_> {
    #[inline]
    fn put(
        &mut self,
        target: usize,
        continues: bool,
        payload: impl FnOnce() -> DecodeResult<u64>,
    ) -> DecodeResult<()> {
        if continues {
            return self.put_more(target, payload);
        }
        if self.values.types[target] != NOTHING {
            return Ok(());
        }
        if let ArrayFlags::Known(flags) = self.flags
            && flags[target] != 0
        {
            self.values.types[target] = array_of(self.scalar) as u8;
            self.arrays.start(target, payload()?);
            return Ok(());
        }
        self.values.types[target] = self.scalar as u8;
        self.values.payloads[target] = payload()?;
        self.last_scalar = Some(target);
        Ok(())
    }

    fn put_more(
        &mut self,
        target: usize,
        payload: impl FnOnce() -> DecodeResult<u64>,
    ) -> DecodeResult<()> {
        let array_type = array_of(self.scalar) as u8;
        if matches!(self.flags, ArrayFlags::Unknown)
            && self.last_scalar == Some(target)
            && self.values.types[target] == self.scalar as u8
        {
            self.values.types[target] = array_type;
            self.arrays.start(target, self.values.payloads[target]);
        }
        if self.arrays.last() == Some(target) && self.values.types[target] == array_type {
            self.arrays.push(payload()?);
        }
        Ok(())
    }
}

/// How a value is read from what is stored of it.
type FromBytes = fn(&[u8], &mut StringPool) -> DecodeResult<(ValueType, u64)>;

/// Reads values that have no column of their type.
fn read_encoded(
    task: &mut Task<'_>,
    leaf: Leaf,
    read: FromBytes,
    slot_level: u8,
    keys: &KeyScan,
    values: &mut Values,
) -> Result<()> {
    let mut walker =
        Walker::new(slot_level, leaf.max_def, keys.attributes, keys.ordinals.as_deref());
    let needs = Needs { rep: false, def: true };
    task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
        walker.page(page, |target, _, value| {
            if values.types[target] != NOTHING {
                return Ok(());
            }
            let (value_type, payload) = read(strings.bytes(strings.local[value]), pool)?;
            values.types[target] = value_type as u8;
            values.payloads[target] = payload;
            Ok(())
        })
    })?;
    walker.finish().map_err(|error| task.corrupt(leaf, error))
}
