use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tactus_config::GoDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn settings(endpoint: &str) -> Section {
    let timeout = GoDuration::millis(50);
    Section { endpoint: endpoint.to_owned(), timeout, ..Section::default() }
}

/// A server that says the same to everybody, or nothing.
async fn server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(answer).await;
            open.push(stream);
        }
    });
    (address, connections)
}

#[tokio::test]
async fn server_that_misbehaves_costs_a_bounded_time_and_is_then_left_alone() {
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999\r\nabc"] {
        let (address, connections) = server(answer).await;
        let redis = Redis::new(&settings(&address)).unwrap();
        let started = Instant::now();
        for _ in 0..3 {
            let fetched = redis.get(&["a", "b"]).await;
            assert_eq!(fetched.values, [None, None]);
            assert!(!matches!(fetched.error, None | Some(Error::Unavailable)), "{answer:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{answer:?}");
        let before = connections.load(Ordering::Relaxed);
        for _ in 0..1000 {
            let error = redis.set("a", Bytes::new()).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable), "{error}");
        }
        assert_eq!(connections.load(Ordering::Relaxed), before);
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Answers each command by what it says; nothing is no answer. Counts connections.
fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> String + Clone + Send + 'static,
) -> Arc<AtomicUsize> {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    let commands = String::from_utf8_lossy(&bytes[..count]).into_owned();
                    // Each command begins with an asterisk.
                    let answers: String = commands.split('*').skip(1).map(&answer).collect();
                    if stream.write_all(answers.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    connections
}

/// The answers of a server that has a value for each key.
fn full(command: &str) -> String {
    let answer = if command.contains("MGET") { "*1\r\n$1\r\nx\r\n" } else { "+OK\r\n" };
    answer.to_owned()
}

fn are_found(fetched: &Fetched) -> Vec<bool> {
    fetched.values.iter().map(Option::is_some).collect()
}

#[tokio::test]
async fn server_that_became_a_replica_is_connected_to_anew_and_not_with_each_write() {
    let (listener, address) = listen().await;
    let connections = serve(listener, |_: &str| "-READONLY a replica\r\n".to_owned());
    let section = Section { pool_size: 1, timeout: GoDuration::seconds(5), ..settings(&address) };
    let redis = Redis::new(&section).unwrap();
    for _ in 0..10 {
        let error = redis.set("a", Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        let connected = async {
            while connections.load(Ordering::Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), connected).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn server_that_refuses_values_is_still_read() {
    for (refusal, is_of_values) in [
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", true),
        ("-NOREPLICAS Not enough good replicas to write.\r\n", true),
        ("-NOPERM this user has no permissions to run the 'set' command\r\n", true),
        ("-ERR DENIED by proxy\r\n", true),
        ("-NOAUTH Authentication required.\r\n", false),
        ("-LOADING Redis is loading the dataset in memory\r\n", false),
        ("-CLUSTERDOWN The cluster is down\r\n", false),
        ("-MOVED 1 127.0.0.1:1\r\n", false),
    ] {
        let (listener, address) = listen().await;
        serve(listener, move |command: &str| match command.contains("\nSET\r") {
            true => refusal.to_owned(),
            false => full(command),
        });
        let section = Section { timeout: GoDuration::seconds(5), ..settings(&address) };
        let redis = Redis::new(&section).unwrap();
        let mut errors = Vec::new();
        for _ in 0..5 {
            errors.push(redis.set("a", Bytes::new()).await.unwrap_err());
        }
        let are_refusals = errors.iter().all(|error| matches!(error, Error::Refused(_)));
        assert_eq!(are_refusals, is_of_values, "{refusal} {errors:?}");
        assert_eq!(are_found(&redis.get(&["a"]).await), [is_of_values], "{refusal}");
        assert_eq!(redis.refusal_logged.lock().is_some(), is_of_values, "{refusal}");
    }
}

#[tokio::test]
async fn server_that_refuses_the_connection_is_left_alone() {
    let (listener, address) = listen().await;
    serve(listener, |command: &str| match command.contains("SELECT") {
        true => "-ERR DB index is out of range\r\n".to_owned(),
        false => full(command),
    });
    let section = Section { db: 99, timeout: GoDuration::seconds(5), ..settings(&address) };
    let redis = Redis::new(&section).unwrap();
    for _ in 0..3 {
        let error = redis.set("a", Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Redis(_)), "{error}");
    }
    let fetched = redis.get(&["a"]).await;
    assert!(matches!(fetched.error, Some(Error::Unavailable)), "{fetched:?}");
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

#[tokio::test]
async fn primary_is_used_while_the_first_sentinel_hangs() {
    let (primary, primary_address) = listen().await;
    serve(primary, |command: &str| match command.contains("ROLE") {
        true => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
        false => full(command),
    });
    let mut masters = "*1\r\n*8\r\n".to_owned();
    let port = port(&primary_address);
    for word in ["name", "tactus", "ip", "127.0.0.1", "port", port, "flags", "master"] {
        masters.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    let (sentinel, sentinel_address) = listen().await;
    serve(sentinel, move |command: &str| {
        if command.contains("ROLE") {
            "*2\r\n$8\r\nsentinel\r\n*1\r\n$6\r\ntactus\r\n".to_owned()
        } else if command.contains("MASTERS") {
            masters.clone()
        } else {
            full(command)
        }
    });
    let (hanging, _) = server(b"").await;
    let section = Section {
        master_name: "tactus".to_owned(),
        timeout: GoDuration::millis(200),
        pool_size: 1,
        ..settings(&format!("{hanging},{sentinel_address}"))
    };
    let redis = Redis::new(&section).unwrap();
    let fetched = redis.get(&["a"]).await;
    assert!(matches!(fetched.error, Some(Error::TimedOut)), "{fetched:?}");
    redis.check().await.unwrap();
    assert_eq!(are_found(&redis.get(&["a"]).await), [true]);
}

/// A cluster of two servers, of which the second can be made to hang.
async fn cluster() -> (String, Arc<AtomicBool>) {
    let ((first, first_address), (second, second_address)) = (listen().await, listen().await);
    let addresses = [first_address, second_address];
    let endpoint = addresses.join(",");
    let mut slots = "*2\r\n".to_owned();
    for (number, address) in addresses.iter().enumerate() {
        let (start, end, port) = (8192 * number, 8192 * number + 8191, port(address));
        let node = format!("*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
        slots.push_str(&format!("*3\r\n:{start}\r\n:{end}\r\n{node}"));
    }
    let answer = move |number: usize, command: &str| {
        let key = command.lines().nth(4).unwrap_or_default();
        if command.contains("SLOTS") {
            slots.clone()
        } else if command.contains("MGET") && part_of(key, 2) != number {
            format!("-MOVED 0 {}\r\n", addresses[1 - number])
        } else {
            full(command)
        }
    };
    let hangs = Arc::new(AtomicBool::new(false));
    let (answer_of_first, is_hanging) = (answer.clone(), Arc::clone(&hangs));
    serve(first, move |command: &str| answer_of_first(0, command));
    serve(second, move |command: &str| match is_hanging.load(Ordering::Relaxed) {
        true => String::new(),
        false => answer(1, command),
    });
    (endpoint, hangs)
}

#[tokio::test]
async fn cluster_is_used_while_one_of_its_endpoints_hangs() {
    let (endpoint, _) = cluster().await;
    let (hanging, _) = server(b"").await;
    let timeout = GoDuration::millis(200);
    let section = Section { timeout, ..settings(&format!("{hanging},{endpoint}")) };
    let redis = Redis::new(&section).unwrap();
    redis.check().await.unwrap();
    assert_eq!(are_found(&redis.get(&["a", "b", "c"]).await), [true, true, true]);
}

#[tokio::test]
async fn values_of_a_cluster_are_found_while_a_server_of_others_hangs() {
    let (endpoint, hangs) = cluster().await;
    let timeout = GoDuration::millis(400);
    let section = Section { timeout, pool_size: 1, ..settings(&endpoint) };
    let redis = Redis::new(&section).unwrap();
    let key = |part: usize| {
        let mut keys = (0..100).map(|number| format!("key{number}"));
        keys.find(|key| part_of(key, 2) == part).unwrap()
    };
    let (one, two) = (key(0), key(1));
    let keys = [one.as_str(), two.as_str()];
    redis.check().await.unwrap();
    assert_eq!(are_found(&redis.get(&keys).await), [true, true]);
    hangs.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        // The first ones are on the connection that there was, the others on one made meanwhile.
        let fetched = redis.get(&keys).await;
        assert_eq!(are_found(&fetched), [true, false], "{fetched:?}");
    }
    let fetched = redis.get(&keys).await;
    assert!(matches!(fetched.error, Some(Error::Unavailable)), "{fetched:?}");
}

#[tokio::test]
async fn server_that_is_away_is_an_error_of_each_call() {
    let redis = Redis::new(&settings("127.0.0.1:1")).unwrap();
    assert!(redis.check().await.is_err());
    assert!(matches!(redis.set("a", Bytes::new()).await, Err(Error::Redis(_))));
}

#[test]
fn endpoints_decide_what_is_asked() {
    let with = |endpoints: &str, master: &str| {
        source(&Section { master_name: master.to_owned(), ..settings(endpoints) })
    };
    assert!(matches!(with("a:1", ""), Ok(Source::Single(..))));
    assert!(matches!(with("[::1]:1", ""), Ok(Source::Single(..))));
    assert!(matches!(with("a:1, b:1", ""), Ok(Source::Cluster(_))));
    assert!(matches!(with("a:1", "primary"), Ok(Source::Sentinels(_))));
    for wrong in ["", " ,", "a", "a:0", "a:x", ":1"] {
        assert!(matches!(with(wrong, ""), Err(Error::Invalid(_))), "{wrong:?}");
    }
}

#[test]
fn endpoint_that_is_a_url_is_refused_without_its_password() {
    for url in ["redis://u:hunter2@a:1", "redis://a:1", "u:hunter2@a:1", "a:1,:hunt,er2@b:1"] {
        let error = Redis::new(&settings(url)).unwrap_err().to_string();
        assert!(error.contains("username, password and tls_enabled"), "{error}");
        assert!(!error.contains("hunt"), "{error}");
    }
}

#[test]
fn values_live_as_long_as_either_key_says() {
    let ttl = |expiration, ttl| {
        let (expiration, ttl) = (GoDuration::seconds(expiration), GoDuration::seconds(ttl));
        Redis::new(&Section { expiration, ttl, ..settings("a:1") }).unwrap().ttl.as_secs()
    };
    assert_eq!((ttl(0, 5), ttl(1, 5), ttl(0, 0)), (5, 1, 0));
}
