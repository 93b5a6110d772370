//! The parts of a cluster: ranges of hash slots, of which each server has some.

/// The parts that have a breaker each, so that a server that fails costs the values of its parts only.
pub(super) const CLUSTER_PARTS: usize = 16;

const HASH_SLOTS: usize = 16384;

/// The part of a key, of so many.
pub(super) fn part_of(key: &str, parts: usize) -> usize {
    hash_slot(key) * parts / HASH_SLOTS
}

/// The slot of a key, its CRC-16. Knows no hash tags (`{}`): a key that has one is asked for where it is all the same,
/// and only has the breaker of another part.
fn hash_slot(key: &str) -> usize {
    let crc = key.bytes().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    usize::from(crc) % HASH_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_that_servers_say() {
        assert_eq!(hash_slot("123456789"), 0x31c3);
        assert_eq!((hash_slot("foo"), hash_slot("bar"), hash_slot("")), (12182, 5061, 0));
        assert_eq!((part_of("foo", 16), part_of("bar", 16), part_of("foo", 1)), (11, 4, 0));
    }
}
