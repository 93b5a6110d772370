use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tactus_config::GoDuration;
use tactus_telemetry::metrics::Registry;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::metrics::Kind;
use proptest::prelude::*;

/// What a server does with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Serves.
    Serves,
    /// Takes requests and says nothing.
    Hangs,
    /// Ends the connection in the middle of an answer.
    Cuts,
    /// Answers what is no memcached protocol.
    Babbles,
    /// Announces more than it sends.
    Announces,
    /// Ends each connection after one answer.
    Leaves,
}

struct Servers {
    values: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
    address: String,
}

impl Servers {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (values, connections) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let servers = Self { values, connections, address };
        let (values, connections) = (Arc::clone(&servers.values), Arc::clone(&servers.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let values = Arc::clone(&values);
                tokio::spawn(async move { serve(stream, &values, manner).await });
            }
        });
        servers
    }

    fn client(&self, settings: Section) -> Memcached {
        client(Section { addresses: vec![self.address.clone()], ..settings })
    }
}

fn client(settings: Section) -> Memcached {
    let metrics = Arc::new(Metrics::new(&Registry::new(), Kind::Memcached, "test"));
    Memcached::new(&settings, metrics).unwrap()
}

async fn serve(
    stream: TcpStream,
    values: &Mutex<HashMap<String, Vec<u8>>>,
    manner: Manner,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["get", ref keys @ ..] => {
                let mut answer = Vec::new();
                for key in keys {
                    if let Some(value) = values.lock().get(*key) {
                        let head = format!("VALUE {key} 0 {}\r\n", value.len());
                        answer.extend([head.as_bytes(), value, b"\r\n"].concat());
                    }
                }
                answer.extend(b"END\r\n");
                answer
            }
            ["set", key, "0", _, length] => {
                let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
                stream.read_exact(&mut value).await.ok()?;
                value.truncate(value.len() - 2);
                values.lock().insert(key.to_owned(), value);
                b"STORED\r\n".to_vec()
            }
            _ => b"VERSION 1\r\n".to_vec(),
        };
        let answer = match manner {
            Manner::Serves | Manner::Leaves => answer,
            Manner::Hangs => continue,
            Manner::Cuts => {
                stream.write_all(&answer[..answer.len() / 2]).await.ok()?;
                return None;
            }
            Manner::Babbles => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Manner::Announces => b"VALUE a 0 10000000\r\nabc".to_vec(),
        };
        stream.write_all(&answer).await.ok()?;
        if manner == Manner::Leaves {
            return None;
        }
    }
}

async fn get(client: &Memcached, key: &str) -> Result<Option<Bytes>> {
    let mut fetched = client.get(&[key]).await;
    match fetched.error {
        Some(error) => Err(error),
        None => Ok(fetched.values.remove(0)),
    }
}

#[tokio::test]
async fn values_are_stored_and_found_on_one_connection() {
    let server = Servers::start(Manner::Serves).await;
    let client = server.client(Section::default());
    client.check().await.unwrap();
    assert_eq!(get(&client, "a").await.unwrap(), None);
    let large = Bytes::from(vec![7; 3 << 20]);
    client.set("a", large.clone()).await.unwrap();
    client.set("b", Bytes::new()).await.unwrap();
    let fetched = client.get(&["b", "none", "a", "b"]).await;
    assert!(fetched.error.is_none());
    assert_eq!(fetched.values, [Some(Bytes::new()), None, Some(large), Some(Bytes::new())]);
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced() {
    let server = Servers::start(Manner::Leaves).await;
    let client = server.client(Section::default());
    client.set("a", Bytes::from_static(b"1")).await.unwrap();
    for _ in 0..5 {
        assert_eq!(get(&client, "a").await.unwrap().unwrap(), "1");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn server_that_misbehaves_costs_a_bounded_time_and_is_then_left_alone() {
    for manner in [Manner::Hangs, Manner::Cuts, Manner::Babbles, Manner::Announces] {
        let server = Servers::start(manner).await;
        let timeout = GoDuration::millis(30);
        let client = server.client(Section { timeout, ..Section::default() });
        let started = Instant::now();
        for _ in 0..3 {
            let error = get(&client, "a").await.unwrap_err();
            assert!(!matches!(error, Error::Unavailable), "{manner:?}: {error}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{manner:?}");
        let connections = server.connections.load(Ordering::Relaxed);
        let asked = Instant::now();
        for _ in 0..1000 {
            let error = get(&client, "a").await.unwrap_err();
            assert!(matches!(error, Error::Unavailable), "{manner:?}: {error}");
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "{manner:?}");
        assert_eq!(server.connections.load(Ordering::Relaxed), connections, "{manner:?}");
    }
}

#[tokio::test]
async fn server_that_is_away_does_not_hide_what_others_have() {
    let (one, two) = (Servers::start(Manner::Serves).await, Servers::start(Manner::Hangs).await);
    let addresses = vec![format!("{}, {}", one.address, two.address), "127.0.0.1:1".to_owned()];
    let timeout = GoDuration::millis(50);
    let client = client(Section { addresses, timeout, ..Section::default() });
    let keys: Vec<_> = (0..30).map(|number| format!("key-{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut stored = 0;
    for key in &keys {
        stored += usize::from(client.set(key, Bytes::from((*key).to_owned())).await.is_ok());
    }
    assert!((1..30).contains(&stored), "{stored}");
    let fetched = client.get(&keys).await;
    assert!(fetched.error.is_some());
    assert_eq!(fetched.values.iter().flatten().count(), stored);
    for (key, value) in keys.iter().zip(fetched.values) {
        assert!(value.is_none_or(|value| value == key.as_bytes()));
    }
    assert!(client.check().await.is_err());
}

#[tokio::test]
async fn names_without_an_address_leave_no_server() {
    let addresses = vec!["dns+no-such-host.invalid:1".to_owned()];
    let timeout = GoDuration::millis(200);
    let client = client(Section { addresses, timeout, ..Section::default() });
    assert!(matches!(get(&client, "a").await, Err(Error::Unavailable)));
    assert!(matches!(client.set("a", Bytes::new()).await, Err(Error::Unavailable)));
    let metrics = Arc::new(Metrics::new(&Registry::new(), Kind::Memcached, "test"));
    assert!(Memcached::new(&Section::default(), metrics).is_err());
}

#[test]
fn expiry_is_what_the_protocol_takes() {
    let day = Duration::from_secs(24 * 3600);
    for (ttl, expected) in [
        (Duration::ZERO, 0),
        (Duration::from_millis(1), 1),
        (Duration::from_millis(1500), 2),
        (30 * day, 2_592_000),
        (31 * day, 1_700_000_000 + 2_678_400),
    ] {
        assert_eq!(expiry(ttl, 1_700_000_000), expected, "{ttl:?}");
    }
}

#[test]
fn servers_come_from_addresses_or_from_a_service() {
    let of = |addresses: &str, host: &str| {
        let (service, host) = ("memcached-client".to_owned(), host.to_owned());
        addresses_of(Section {
            addresses: vec![addresses.to_owned()],
            host,
            service,
            ..Section::default()
        })
    };
    let listed = ["m-0:1", "dns+m:2"].map(|address| ServerAddress::parse(address).unwrap());
    assert_eq!(of("m-0:1, dns+m:2", "h").unwrap(), listed);
    let service = ServerAddress::of_service("h", "memcached-client");
    assert_eq!(of("", "h").unwrap(), [service]);
    assert!(of("ftp+m:1", "").unwrap_err().to_string().contains("ftp+m:1"));
}

fn addresses_of(settings: Section) -> Result<Vec<ServerAddress>> {
    addresses(&settings)
}

#[tokio::test]
async fn zero_takes_what_there_must_be() {
    let settings = Section { timeout: GoDuration::ZERO, ..Section::default() };
    let client = client(Section { addresses: vec!["m".to_owned()], ..settings.clone() });
    assert_eq!(client.inner.connector.timeout(), Duration::from_millis(100));
    assert_eq!(client.inner.breaker, BreakerSettings::default());
    let ten = Section { circuit_breaker_consecutive_failures: 10, ..settings };
    assert_eq!(BreakerSettings::of(&ten).consecutive_failures, 10);
}

#[test]
fn numbers_in_names_sort_by_value() {
    let mut names =
        ["m-10:1", "m-9:1", "m-9:02", "a", "m-1:11211", "m-1:2", "", "10.0.0.2", "10.0.0.10"]
            .map(str::to_owned);
    sort(&mut names);
    let sorted =
        ["", "10.0.0.2", "10.0.0.10", "a", "m-1:2", "m-1:11211", "m-9:1", "m-9:02", "m-10:1"];
    assert_eq!(names, sorted);
}

#[test]
fn jump_matches_known_values() {
    // Of the paper's function, as other implementations test it.
    for (key, buckets, expected) in
        [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 1, 0), (0xdead_10cc, 666, 361), (256, 1024, 520)]
    {
        assert_eq!(jump(key, buckets), expected, "{key} {buckets}");
    }
}

proptest! {
    #[test]
    fn further_server_takes_keys_from_others_only(key in any::<u64>(), servers in 1..100usize) {
        let (before, after) = (jump(key, servers), jump(key, servers + 1));
        prop_assert!(before < servers && (after == before || after == servers));
    }

    #[test]
    fn natural_order_is_an_order(names in prop::collection::vec("[a0-2.-]{0,6}", 0..8)) {
        for a in &names {
            for b in &names {
                let order = natural(a.as_bytes(), b.as_bytes());
                prop_assert_eq!(order.reverse(), natural(b.as_bytes(), a.as_bytes()));
                prop_assert_eq!(order.is_eq(), a == b);
                for c in &names {
                    if order.is_le() && natural(b.as_bytes(), c.as_bytes()).is_le() {
                        prop_assert!(natural(a.as_bytes(), c.as_bytes()).is_le());
                    }
                }
            }
        }
    }
}
