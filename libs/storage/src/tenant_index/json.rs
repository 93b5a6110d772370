//! The index as JSON, parsed as it comes.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::entries::{Bounded, Choose, Decoded, Entries};
use crate::error::Result;
use crate::meta::{BlockMeta, CompactedBlockMeta};

/// Feeds `entries` with a decompressed index. `Error::Corrupt` with the byte behind the damage, about.
pub(super) fn decode<K: Choose>(reader: impl Read, entries: &mut Entries<K>) -> Result<()> {
    let decoded = Decoded::default();
    let reader = Bounded::buffered(reader, &decoded, entries.bounds);
    let mut json = serde_json::Deserializer::from_reader(reader);
    let index = Index { entries, decoded: &decoded };
    // To the end, where gzip has its checksum.
    let read = index.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| match error.classify() {
        serde_json::error::Category::Io => decoded.corrupt("gzip of tenant index"),
        _ => decoded.corrupt("json of tenant index"),
    })
}

struct Index<'a, K> {
    entries: &'a mut Entries<K>,
    decoded: &'a Decoded,
}

impl<'de, K: Choose> DeserializeSeed<'de> for Index<'_, K> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, K: Choose> Visitor<'de> for Index<'_, K> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { entries, decoded } = self;
        while let Some(mut key) = map.next_key::<String>()? {
            key.make_ascii_lowercase();
            match key.as_str() {
                "created_at" => {
                    if let Some(text) = map.next_value::<Option<String>>()? {
                        let at: Timestamp = text.parse().map_err(de::Error::custom)?;
                        entries.created_at(at);
                    }
                }
                "meta" => {
                    let take = |meta: BlockMeta| entries.live(meta);
                    map.next_value_seed(Blocks::new(decoded, take))?;
                }
                "compacted" => {
                    let take = |block: CompactedBlockMeta| entries.compacted(block);
                    map.next_value_seed(Blocks::new(decoded, take))?;
                }
                "tactusleftout" => {
                    entries.left_out(map.next_value::<Option<u64>>()?.unwrap_or_default());
                }
                "tactusunread" => {
                    entries.unread(map.next_value::<Option<u64>>()?.unwrap_or_default());
                }
                "tactusform" => {
                    entries.form(map.next_value::<Option<u64>>()?.unwrap_or_default());
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A list of blocks, or null.
struct Blocks<'a, B, F> {
    decoded: &'a Decoded,
    take: F,
    block: PhantomData<fn(B)>,
}

impl<'a, B, F: FnMut(B) -> Result<()>> Blocks<'a, B, F> {
    fn new(decoded: &'a Decoded, take: F) -> Self {
        Self { decoded, take, block: PhantomData }
    }
}

impl<'de, B: Deserialize<'de>, F: FnMut(B) -> Result<()>> DeserializeSeed<'de>
    for Blocks<'_, B, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, B: Deserialize<'de>, F: FnMut(B) -> Result<()>> Visitor<'de> for Blocks<'_, B, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blocks")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(block) = list.next_element()? {
            self.decoded.next_entry();
            (self.take)(block).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}
