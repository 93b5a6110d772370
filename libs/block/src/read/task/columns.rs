//! Columns with one value for each owner, decoded or from the cache.

use tactus_model::{Buffer, Dictionary, TraceId};

use crate::Result;
use crate::read::cache::{Codes, Slot};
use crate::read::chunk::Needs;
use crate::read::columns::Leaf;
use crate::read::strings::StringPool;
use crate::read::values::{Ints, SmallWords, Strings, Words};

use super::Task;

impl Task<'_> {
    /// As [`Self::column`], for a leaf column with one value for each of `expected` owners.
    fn buffer<T: bytemuck::Pod + Send + Sync>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        decode: impl FnOnce(&mut Self) -> Result<Vec<T>>,
    ) -> Result<Buffer<T>> {
        let decode = |task: &mut Self| Ok(Buffer::from(decode(task)?));
        let column = self.column(Slot::Column(leaf.index), decode)?;
        self.expect(leaf, column.len(), expected)?;
        Ok(column)
    }

    /// All values of a 64-bit column. Errors: there are not `expected` values.
    pub(crate) fn words(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u64>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as u64; expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let mut words = Words::collecting(expected);
            task.pages(leaf, Needs::default(), &mut words, |_, _, _| Ok(()))?;
            Ok(words.values)
        })
    }

    /// All values of a fetched 64-bit column, however many there are.
    pub(crate) fn all_words(&mut self, leaf: Leaf) -> Result<Buffer<u64>> {
        self.column(Slot::Column(leaf.index), |task| {
            let mut words = Words::collecting(task.entries_to_read(leaf));
            task.pages(leaf, Needs::default(), &mut words, |_, _, _| Ok(()))?;
            Ok(Buffer::from(words.values))
        })
    }

    /// All values of a 64-bit column of small numbers. Numbers that do not fit become 0.
    pub(crate) fn small_words(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u8>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![u8::try_from(value).unwrap_or(0); expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let mut words = SmallWords::collecting(expected);
            task.pages(leaf, Needs::default(), &mut words, |_, _, _| Ok(()))?;
            Ok(words.values)
        })
    }

    /// All values of a 32-bit column.
    pub(crate) fn ints(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<i32>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as i32; expected].into());
        }
        self.buffer(leaf, expected, |task| task.decode_ints(leaf, expected))
    }

    fn decode_ints(&mut self, leaf: Leaf, expected: usize) -> Result<Vec<i32>> {
        let mut ints = Ints::collecting(expected);
        self.pages(leaf, Needs::default(), &mut ints, |_, _, _| Ok(()))?;
        Ok(ints.values)
    }

    /// All values of a column of unsigned 32-bit counts; zeros if the file does not have the column.
    pub(crate) fn counts(&mut self, leaf: Option<Leaf>, expected: usize) -> Result<Buffer<u32>> {
        let Some(leaf) = leaf else { return Ok(vec![0; expected].into()) };
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as u32; expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let counts = task.decode_ints(leaf, expected)?;
            Ok(counts.into_iter().map(|count| count as u32).collect())
        })
    }

    /// The batch codes of all values of a string column.
    pub(crate) fn codes(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u32>> {
        let Codes { codes, strings } = self.own_codes(leaf, expected)?;
        let recode = self.absorb(leaf, strings)?;
        Ok(recode.codes(codes))
    }

    /// The values of a string column, as codes of a dictionary of its own.
    pub(crate) fn own_codes(&mut self, leaf: Leaf, expected: usize) -> Result<Codes> {
        if self.is_all_empty(leaf) {
            let codes = vec![0; expected].into();
            return Ok(Codes { codes, strings: Dictionary::default() });
        }
        let column = self.column(Slot::Column(leaf.index), |task| {
            let mut pool = StringPool::default();
            let mut codes = Vec::with_capacity(expected);
            task.with_pool(&mut pool, |task| {
                let decoder = &mut Strings::default();
                task.pages(leaf, Needs::default(), decoder, |_, strings, pool| {
                    strings.resolve_all(pool, &mut codes)
                })
            })?;
            Ok(Codes { codes: codes.into(), strings: pool.finish_shared() })
        })?;
        self.expect(leaf, column.codes.len(), expected)?;
        Ok(column)
    }

    /// All values of a column of ids.
    pub(crate) fn ids<const WIDTH: usize, T: bytemuck::Pod + Send + Sync>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        wrap: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Buffer<T>> {
        if self.is_all_empty(leaf) {
            return Ok(vec![wrap([0; WIDTH]); expected].into());
        }
        self.buffer(leaf, expected, |task| task.decode_ids(leaf, expected, wrap))
    }

    fn decode_ids<const WIDTH: usize, T>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        wrap: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(expected);
        self.pages(leaf, Needs::default(), &mut Strings::default(), |_, strings, _| {
            strings.ids(&wrap, &mut out);
            Ok(())
        })?;
        Ok(out)
    }

    /// The trace ids, however many there are.
    pub(crate) fn trace_ids(&mut self, leaf: Leaf) -> Result<Buffer<TraceId>> {
        let decode = |task: &mut Self| Ok(Buffer::from(task.decode_ids(leaf, 0, TraceId)?));
        self.column(Slot::Column(leaf.index), decode)
    }
}
