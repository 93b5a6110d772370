//! What this thread asked the allocator for.

use tikv_jemalloc_ctl::thread;
use tikv_jemallocator::Jemalloc;

// As in the server: another one does not count.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Bytes so far, given back or not: what is taken at one time is never more. What C code takes is not among them.
pub(crate) fn allocated() -> u64 {
    thread::allocatedp::read().expect("the allocator counts").get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_also_after_it_was_given_back() {
        let before = allocated();
        drop(std::hint::black_box(vec![0_u8; 1 << 20]));
        let spent = allocated() - before;
        assert!((1 << 20..2 << 20).contains(&spent), "{spent}");
    }
}
