//! What only this product writes into a block meta: key `tactus` in JSON, field 1000 in protobuf (the same JSON).
//!
//! Readers elsewhere skip keys and fields that they do not know.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// See the module. All parts may be empty; unknown keys are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// All blocks that this one was made of: their spans are all in this one (or were taken out on purpose), and it
    /// has no others. Where it is live, they are not read any more, nor is another block made of some of them. An
    /// input that went in only in part is not named, and must stay live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Uuid>,
    /// What was last taken out of the block by age, as the retention that did it names itself: it need not be done
    /// again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retention: String,
}

impl Extension {
    /// True without any content.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
