//! Tokens of an instance, and the file that keeps them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::file;
use crate::hash::SplitMix64;

/// Most tokens that an instance may claim; more are cut off.
pub(crate) const MAX_TOKENS: u32 = 65_536;

/// Where the tokens of an instance come from. A seed keeps gossip small: everyone draws the same
/// tokens from it. Tokens of a file that another program wrote are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// The first `count` distinct values of SplitMix64 seeded with `seed` (upper halves).
    Seed {
        /// Seed of the sequence.
        seed: u64,
        /// How many tokens.
        count: u32,
    },
    /// These.
    Listed(Vec<u32>),
}

impl Tokens {
    /// No tokens.
    pub fn none() -> Self {
        Self::Listed(Vec::new())
    }

    /// New tokens of an instance. The seed follows from ring and id: an instance that lost its
    /// file, and whose entry was forgotten, gets the tokens again that it had.
    pub(crate) fn of_instance(ring: &str, id: &str, count: u32) -> Self {
        let sum = Md5::new().chain_update(ring).chain_update([0]).chain_update(id).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&sum[..8]);
        Self::Seed { seed: u64::from_be_bytes(first), count: count.min(MAX_TOKENS) }
    }

    /// The same tokens, cut off or filled up to `count`.
    pub(crate) fn adjusted(&self, count: u32, new: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Seed { seed, .. } => Self::Seed { seed: *seed, count: count.min(MAX_TOKENS) },
            Self::Listed(tokens) => {
                let mut tokens = tokens.clone();
                let held: HashSet<u32> = tokens.iter().copied().collect();
                let more = if tokens.len() < count as usize { new().resolve() } else { [].into() };
                tokens.extend(more.iter().filter(|token| !held.contains(token)));
                tokens.truncate(count as usize);
                Self::Listed(tokens)
            }
        }
    }

    /// Reads a tokens file; `None` if there is none, or it is not one.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let file: TokensFile = file::load(path, "tokens file")?;
        let listed = Self::Listed(file.tokens);
        // The list counts: it may have been changed by hand.
        let seeded = file.seed.map(|seed| Self::Seed { seed, count: listed.count() });
        Some(seeded.filter(|seeded| seeded.resolve() == listed.resolve()).unwrap_or(listed))
    }

    /// Writes a tokens file: JSON with the list, as Tempo has it, and the seed. It is replaced at
    /// once, never half written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let seed = match self {
            Self::Seed { seed, .. } => Some(*seed),
            Self::Listed(_) => None,
        };
        let file = TokensFile { tokens: self.resolve().to_vec(), seed };
        file::save(path, &file)
    }

    /// The tokens, ascending and distinct.
    pub fn resolve(&self) -> Arc<[u32]> {
        let mut tokens = match self {
            Self::Seed { seed, count } => draw(*seed, *count),
            Self::Listed(tokens) => {
                let mut tokens = tokens.clone();
                tokens.sort_unstable();
                tokens.dedup();
                tokens.truncate(MAX_TOKENS as usize);
                tokens
            }
        };
        tokens.sort_unstable();
        tokens.into()
    }

    /// How many tokens at most.
    pub fn count(&self) -> u32 {
        match self {
            Self::Seed { count, .. } => (*count).min(MAX_TOKENS),
            Self::Listed(tokens) => tokens.len() as u32,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TokensFile {
    tokens: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

fn draw(seed: u64, count: u32) -> Vec<u32> {
    let count = count.min(MAX_TOKENS) as usize;
    let mut random = SplitMix64::new(seed);
    let mut seen = HashSet::with_capacity(count);
    let mut tokens = Vec::with_capacity(count);
    while tokens.len() < count {
        let token = random.next_u32();
        if seen.insert(token) {
            tokens.push(token);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_tokens_of_a_seed_are_the_first_of_more() {
        let few: HashSet<u32> = draw(7, 16).into_iter().collect();
        let many: HashSet<u32> = draw(7, 128).into_iter().collect();
        assert_eq!((few.len(), many.len()), (16, 128));
        assert!(few.is_subset(&many));
        assert_eq!(draw(0, 2), [0xe220_a839, 0x6e78_9e6a], "instances keep their tokens as a seed");
    }

    #[test]
    fn tokens_file_keeps_seed_and_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/tokens.json");
        assert_eq!(Tokens::load(&path), None);
        let seeded = Tokens::of_instance("ring", "a", 8);
        seeded.save(&path).unwrap();
        assert_eq!(Tokens::load(&path), Some(seeded));
        std::fs::write(&path, r#"{"tokens":[5,3]}"#).unwrap();
        assert_eq!(Tokens::load(&path), Some(Tokens::Listed(vec![5, 3])));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Tokens::load(&path), None);
    }

    #[test]
    fn listed_tokens_are_filled_up_and_cut_off() {
        let listed = Tokens::Listed(vec![1, 2, 3]);
        let new = || Tokens::of_instance("ring", "a", 8);
        assert_eq!(listed.adjusted(2, new), Tokens::Listed(vec![1, 2]));
        let more = listed.adjusted(8, new).resolve();
        assert!(more.len() == 8 && [1, 2, 3].iter().all(|token| more.contains(token)));
    }
}
