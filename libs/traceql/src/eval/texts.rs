//! Texts that many spans of an answer show.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Copies each text of a batch once, because thousands of spans may show the same kilobytes of their resource.
#[derive(Default)]
pub(crate) struct Texts<'v> {
    copies: HashMap<&'v [u8], Arc<str>, RandomState>,
}

impl<'v> Texts<'v> {
    /// The copy of a text; invalid UTF-8 is replaced.
    pub(crate) fn shared(&mut self, text: &'v [u8]) -> Arc<str> {
        let copy = self.copies.entry(text).or_insert_with(|| String::from_utf8_lossy(text).into());
        Arc::clone(copy)
    }
}
