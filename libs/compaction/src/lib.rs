//! Merges and rewrites blocks: the part of compaction that is about data.
