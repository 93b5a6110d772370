//! Failed attempts by address: who guesses has to wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that an address has free.
const FREE: u32 = 10;

/// One more is free after this time.
const RECOVERY: Duration = Duration::from_secs(6);

/// Addresses remembered. When there are more, those that recovered are forgotten, then all.
const MAX_ADDRESSES: usize = 10_000;

/// Failures by address; a network of IPv6 that one customer has is one address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

/// A bucket that leaks: `count` at the time `at`, one less after each recovery.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    at: Instant,
}

impl Failures {
    fn now(self) -> Self {
        let recovered = (self.at.elapsed().as_secs_f64() / RECOVERY.as_secs_f64()) as u32;
        if recovered == 0 {
            return self;
        }
        let at = self.at + RECOVERY * recovered.min(FREE);
        Self { count: self.count.saturating_sub(recovered), at }
    }
}

impl Attempts {
    /// How long the address has to wait; `None`: it may try.
    pub(super) fn wait(&self, client: Option<IpAddr>) -> Option<Duration> {
        let failures = self.failures.lock().get(&client.map(network)).copied()?.now();
        (failures.count >= FREE).then(|| RECOVERY.saturating_sub(failures.at.elapsed()))
    }

    /// Notes a failure.
    pub(super) fn failed(&self, client: Option<IpAddr>) {
        let mut all = self.failures.lock();
        if all.len() >= MAX_ADDRESSES {
            all.retain(|_, failures| failures.now().count > 0);
            if all.len() >= MAX_ADDRESSES {
                all.clear();
            }
        }
        let now = Instant::now();
        let entry = all.entry(client.map(network)).or_insert(Failures { count: 0, at: now });
        *entry = entry.now();
        if entry.count == 0 {
            entry.at = now;
        }
        entry.count = (entry.count + 1).min(FREE);
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let mut octets = six.octets();
            octets[8..].fill(0);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_fails_often_waits_and_others_do_not() {
        let attempts = Attempts::default();
        let address = |text: &str| Some(text.parse().unwrap());
        for _ in 0..FREE {
            assert_eq!(attempts.wait(address("2001:db8::1")), None);
            attempts.failed(address("2001:db8::1"));
        }
        let wait = attempts.wait(address("2001:db8::2")).unwrap();
        assert!(wait <= RECOVERY && wait > Duration::ZERO);
        assert_eq!(attempts.wait(address("2001:db8:0:1::1")), None);
        assert_eq!(attempts.wait(address("192.0.2.1")), None);
        assert_eq!(attempts.wait(None), None);
    }

    #[test]
    fn failures_are_forgiven_one_by_one() {
        let Some(at) = Instant::now().checked_sub(RECOVERY * 3) else { return };
        let later = Failures { count: 10, at }.now();
        assert_eq!(later.count, 7);
        assert!(later.at.elapsed() < RECOVERY);
    }

    #[test]
    fn addresses_are_bounded() {
        let attempts = Attempts::default();
        for number in 0..(MAX_ADDRESSES as u32 + 5) {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(attempts.failures.lock().len() <= MAX_ADDRESSES);
    }
}
