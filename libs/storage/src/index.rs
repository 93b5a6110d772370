//! The `index` file of a block: the largest trace id of every row group, as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Largest trace id per row group, in file order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowGroupIndex {
    last_ids: Vec<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "rowGroups")]
    row_groups: Vec<String>,
}

impl RowGroupIndex {
    /// From the last (largest) trace id of each row group, in file order.
    pub fn new(last_ids: Vec<[u8; 16]>) -> Self {
        Self { last_ids }
    }

    /// The last trace id of each row group.
    pub fn last_ids(&self) -> &[[u8; 16]] {
        &self.last_ids
    }

    /// The only row group that can hold `id`; `None` when it is past the end of the block.
    pub fn find(&self, id: &[u8; 16]) -> Option<usize> {
        let row_group = self.last_ids.partition_point(|last| last < id);
        (row_group < self.last_ids.len()).then_some(row_group)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let row_groups = self.last_ids.iter().map(|id| STANDARD.encode(id)).collect();
        serde_json::to_vec(&Wire { row_groups }).expect("a list of strings always serializes")
    }

    /// Parses the file; `Error::Corrupt` when it is not JSON, an id has another length than 16
    /// bytes, or the ids are not ascending.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| Error::corrupt("row group index", error.column() as u64))?;
        let last_ids = wire
            .row_groups
            .iter()
            .map(|text| STANDARD.decode(text).ok()?.try_into().ok())
            .collect::<Option<Vec<[u8; 16]>>>()
            .ok_or_else(|| Error::corrupt("trace id of row group index", 0))?;
        if !last_ids.is_sorted() {
            return Err(Error::corrupt("order of row group index", 0));
        }
        Ok(Self { last_ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"rowGroups":["W47/95gDgQPSabYzgT/GDA==","tQAAAAAAAHcAAAAAAAAANw==","/////////////////////w=="]}"#;

    fn id(first: u8, rest: u8) -> [u8; 16] {
        let mut id = [rest; 16];
        id[0] = first;
        id
    }

    #[test]
    fn sample_index_round_trips_and_finds() {
        let index = RowGroupIndex::decode(SAMPLE.as_bytes()).unwrap();
        assert_eq!(index.encode(), SAMPLE.as_bytes());
        let last_of_first = *index.last_ids().first().unwrap();
        assert_eq!(index.find(&last_of_first), Some(0));
        assert_eq!(index.find(&id(0x5c, 0)), Some(1));
        assert_eq!(index.find(&[0xff; 16]), Some(2));
    }

    #[test]
    fn id_past_the_last_row_group_is_not_in_the_block() {
        let index = RowGroupIndex::new(vec![id(1, 0)]);
        assert_eq!(index.find(&id(2, 0)), None);
        assert_eq!(RowGroupIndex::default().find(&id(0, 0)), None);
    }

    #[test]
    fn damaged_index_is_corrupt() {
        for text in ["", "{}", "[", r#"{"rowGroups":["AA=="]}"#, r#"{"rowGroups":["%"]}"#] {
            let error = RowGroupIndex::decode(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{text}");
        }
        let unsorted = RowGroupIndex::new(vec![id(2, 0), id(1, 0)]).encode();
        assert!(RowGroupIndex::decode(&unsorted).is_err());
    }
}
