//! Finds a trace as a whole, provided that it is small enough for an answer in one piece.

use tactus_api::request::TraceQuery;
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Error, Result};
use tactus_model::merge::SpanSlice;
use tactus_model::{TenantId, TraceId};

use super::parts::Parts;
use super::{FoundTrace, LOCAL_SLICE_BYTES, Large, Slices};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::query_log::Asked;

/// Divisor: a trace that is answered in one piece takes at most this fraction of the memory for requests and answers.
/// In memory are its spans, and the encoded answer, which has up to three times as many bytes, and other requests must
/// be answered as well. A querier that combines three replicas holds four times as much, besides the answer that it
/// sends, out of the seven sixteenths that a port may use.
const MEMORY_SHARE: u64 = 16;

/// What was found of a trace.
#[derive(Debug)]
pub(crate) enum Limited {
    /// All of it.
    Whole(FoundTrace),
    /// It is too large. About this many bytes.
    TooLarge(u64),
}

impl Frontend {
    /// The most bytes of a trace that is given in one piece.
    fn whole_bytes(&self) -> u64 {
        (self.memory.max_bytes() / MEMORY_SHARE).max(1)
    }

    /// Finds a whole trace as [`Self::find_part`] does, unless it is too large for that: then the query ends with that error, or if
    /// `comes_in_slices`, another follows.
    pub(crate) async fn find_limited(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        when_too_large: WhenTooLarge,
        comes_in_slices: bool,
    ) -> Result<Limited> {
        let run = async {
            let _admitted = self.admit(tenants)?;
            match self.find_whole(tenants, id, query, when_too_large).await {
                Ok(Limited::TooLarge(_)) if !comes_in_slices => Err(Error::TooManyBytes),
                // Out of one place it came with more than queries may hold.
                Err(Error::TooManyBytes | Error::NeedsTooMuchMemory(_)) if comes_in_slices => {
                    Ok(Limited::TooLarge(self.whole_bytes()))
                }
                found => found,
            }
        };
        // One that is too large is asked for again, and counts then.
        let inspected = |found: &Limited| match found {
            Limited::Whole(found) => Some(found.facts.inspected_bytes),
            Limited::TooLarge(_) => None,
        };
        self.counted_if(tenants, TRACES, Asked::new(id.to_hex()), run, inspected).await
    }

    async fn find_whole(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        when_too_large: WhenTooLarge,
    ) -> Result<Limited> {
        let most = self.whole_bytes();
        let of_slice = self.slice_bytes(most);
        let mut slices = Slices::new(self, tenants, id, query, Large::Whole, of_slice);
        let mut all = Parts::new(&self.memory, SpanSlice::WHOLE);
        while let Some((_, parts)) = slices.next_below(most).await? {
            if parts.part_bytes > most {
                return Ok(Limited::TooLarge(parts.part_bytes));
            }
            all = all.and(parts);
            if all.bytes() as u64 > most {
                // It lies in several places, of which none has more.
                return Ok(Limited::TooLarge(all.bytes() as u64 * 2));
            }
        }
        self.combined(tenants, all, query, when_too_large).await.map(Limited::Whole)
    }

    /// A trace that is too large to be given in one piece, in slices; it has about this many bytes.
    pub(crate) fn slices_of_large<'f>(
        &'f self,
        tenants: &'f [TenantId],
        id: TraceId,
        query: TraceQuery,
        bytes: u64,
    ) -> Slices<'f> {
        let max_bytes = self.slice_bytes(self.whole_bytes().min(LOCAL_SLICE_BYTES));
        Slices::new(self, tenants, id, query, Large::Whole, max_bytes).of_bytes(bytes)
    }
}
