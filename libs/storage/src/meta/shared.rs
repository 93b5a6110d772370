//! Shares equal lists of columns between metas, because they take most of a meta's memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::{DedicatedColumn, lenient};
use crate::error::{Error, Result};

/// The most lists that are shared. A bucket has a few; further lists are not shared.
const MAX_LISTS: usize = 256;

/// Memory of a list that is shared, in bytes; the text that it came from counts too. The columns of a block are 75 at most.
const MAX_SHARED_BYTES: usize = 16 << 10;

/// The most columns of a list, which is more than any version of blocks has.
const MAX_COLUMNS: usize = 256;

type Columns = Arc<[DedicatedColumn]>;

static LISTS: LazyLock<Mutex<Lists>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Lists {
    by_content: HashSet<Columns>,
    /// By the text that was parsed.
    by_text: HashMap<Vec<u8>, Columns>,
}

/// The shared list of these columns; `Error::Corrupt` if there are more than any block has.
pub(super) fn columns(columns: Vec<DedicatedColumn>) -> Result<Columns> {
    LISTS.lock().columns(columns)
}

/// The shared list of the columns of a JSON array; errors as for any part of a meta.
pub(super) fn columns_of_json(text: &[u8]) -> Result<Columns> {
    LISTS.lock().columns_of_json(text)
}

impl Lists {
    fn columns(&mut self, columns: Vec<DedicatedColumn>) -> Result<Columns> {
        if columns.len() > MAX_COLUMNS {
            return Err(Error::corrupt("number of dedicated columns", 0));
        }
        if let Some(known) = self.by_content.get(columns.as_slice()) {
            return Ok(Arc::clone(known));
        }
        let bytes: usize = columns.iter().map(DedicatedColumn::memory_bytes).sum();
        let columns: Columns = columns.into();
        if self.by_content.len() < MAX_LISTS && bytes <= MAX_SHARED_BYTES {
            self.by_content.insert(Arc::clone(&columns));
        }
        Ok(columns)
    }

    fn columns_of_json(&mut self, text: &[u8]) -> Result<Columns> {
        if let Some(known) = self.by_text.get(text) {
            return Ok(Arc::clone(known));
        }
        let columns = self.columns(lenient::parse(text)?)?;
        if self.by_text.len() < MAX_LISTS && text.len() <= MAX_SHARED_BYTES {
            self.by_text.insert(text.to_vec(), Arc::clone(&columns));
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_columns_are_shared_however_they_are_written() {
        let mut lists = Lists::default();
        let one = lists.columns_of_json(br#"[{"n":"a"},{"n":"b","t":"int"}]"#).unwrap();
        for other in
            [&br#"[{"n":"a"},{"n":"b","t":"int"}]"#[..], br#"[{"N":"a"}, {"n":"b","t":"int"}]"#]
        {
            assert!(Arc::ptr_eq(&one, &lists.columns_of_json(other).unwrap()));
        }
        assert!(Arc::ptr_eq(&one, &lists.columns(one.to_vec()).unwrap()));
        assert!(lists.columns_of_json(b"[").is_err());
    }

    #[test]
    fn any_number_of_lists_can_be_read_and_few_are_kept() {
        let mut lists = Lists::default();
        for number in 0..2 * MAX_LISTS {
            let name = format!("many.{number}");
            let list = lists.columns_of_json(format!(r#"[{{"n":"{name}"}}]"#).as_bytes()).unwrap();
            assert_eq!(list[0].name, name);
        }
        assert_eq!((lists.by_content.len(), lists.by_text.len()), (MAX_LISTS, MAX_LISTS));
    }

    #[test]
    fn large_lists_are_read_and_not_kept() {
        let mut lists = Lists::default();
        let name = "x".repeat(MAX_SHARED_BYTES);
        let list = lists.columns_of_json(format!(r#"[{{"n":"{name}"}}]"#).as_bytes()).unwrap();
        assert_eq!((list[0].name.len(), Arc::strong_count(&list)), (MAX_SHARED_BYTES, 1));
        let text = |count: usize| format!("[{}]", vec![r#"{"n":"a"}"#; count].join(","));
        assert_eq!(lists.columns_of_json(text(MAX_COLUMNS).as_bytes()).unwrap().len(), MAX_COLUMNS);
        assert!(lists.columns_of_json(text(MAX_COLUMNS + 1).as_bytes()).unwrap_err().is_corrupt());
    }
}
