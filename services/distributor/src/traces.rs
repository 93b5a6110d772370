//! How many traces a request has, about.

/// Bits of the table. A batch of a thousand traces is counted within some percent.
const BITS: usize = 4096;

/// Counts distinct trace ids by the share of a table of bits that they leave empty: a few nanoseconds a span and no
/// allocation, for a histogram whose buckets double.
pub(crate) struct TraceCount {
    table: [u64; BITS / 64],
}

impl TraceCount {
    pub(crate) fn new() -> Self {
        Self { table: [0; BITS / 64] }
    }

    /// Sees the trace id of a span.
    #[inline]
    pub(crate) fn add(&mut self, trace_id: &[u8]) {
        let Some((_, tail)) = trace_id.split_last_chunk::<8>() else { return };
        let mut mixed = u64::from_be_bytes(*tail);
        // Ids need not be random.
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bit = mixed >> 52;
        self.table[bit as usize / 64] |= 1 << (bit % 64);
    }

    /// The number of traces seen.
    pub(crate) fn estimate(&self) -> u64 {
        let set: u32 = self.table.iter().map(|word| word.count_ones()).sum();
        let empty = (BITS as f64 - f64::from(set)).max(1.0);
        (-(BITS as f64) * (empty / BITS as f64).ln()).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_is_near_the_number_of_distinct_ids() {
        for traces in [0u64, 1, 2, 10, 100, 1000, 4000] {
            let mut count = TraceCount::new();
            for trace in 0..traces {
                let id = u128::from(trace) | 7 << 100;
                count.add(&id.to_be_bytes());
                count.add(&id.to_be_bytes());
            }
            let error = count.estimate().abs_diff(traces);
            assert!(error <= traces / 10, "{traces}: {}", count.estimate());
        }
    }
}
