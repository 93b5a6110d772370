//! The dictionary of the batch that is being read.

use tactus_model::{Dictionary, DictionaryBuilder};

use crate::decoding::{DecodeError, DecodeResult};

/// A dictionary addresses its bytes with 32 bits.
const MAX_BYTES: usize = u32::MAX as usize;

/// Collects strings of all columns, each once.
#[derive(Debug, Default)]
pub(crate) struct StringPool {
    builder: DictionaryBuilder,
}

impl StringPool {
    /// The code of a string, added if it is new.
    ///
    /// Errors: the strings of the batch would exceed 4 GiB.
    #[inline]
    pub(crate) fn intern(&mut self, string: &[u8]) -> DecodeResult<u32> {
        if self.builder.dictionary().parts().0.len() + string.len() > MAX_BYTES {
            return Err(DecodeError("the strings of a row group exceed 4 GiB"));
        }
        Ok(self.builder.intern(string))
    }

    /// The string of a code.
    pub(crate) fn get(&self, code: u32) -> &[u8] {
        self.builder.dictionary().get(code)
    }

    /// All strings.
    pub(crate) fn finish(self) -> Dictionary {
        self.builder.finish()
    }
}
