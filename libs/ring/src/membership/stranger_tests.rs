//! Messages of a process that is not a member, to a cluster without a secret.

use std::net::SocketAddr;

use chitchat::{ChitchatId, Serializable as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::testing::{Node, SUSPECT, cluster, until};

const SYN: u8 = 0;
const ACK: u8 = 2;

/// The greeting of a member without a secret.
async fn greeted(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let from = "127.0.0.1:9";
    let hello = [&b"TACTUSg\x01\x00\x00"[..], &[from.len() as u8], from.as_bytes()].concat();
    stream.write_all(&hello).await.unwrap();
    let mut status = [0; 9];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status[8], 0, "welcome");
    stream
}

/// True if the message was taken; otherwise the connection is closed.
async fn say(to: SocketAddr, kind: u8, body: &[u8]) -> bool {
    let mut stream = greeted(to).await;
    let message = [&[0x53, 0xb0, 0, kind], body].concat();
    stream.write_u32(message.len() as u32).await.unwrap();
    stream.write_all(&message).await.unwrap();
    stream.read_u8().await.is_ok()
}

fn name(number: usize, length: usize) -> ChitchatId {
    let text = format!("{number:0>length$}");
    ChitchatId::new(text, 1, ([127, 0, 0, 1], 9).into())
}

/// Says that there are these members.
fn members(ids: &[ChitchatId]) -> Vec<u8> {
    let mut body = (ids.len() as u16).to_le_bytes().to_vec();
    for id in ids {
        id.serialize(&mut body);
        body.extend([1_u64, 0, 0].map(u64::to_le_bytes).concat());
    }
    "tactus".serialize(&mut body);
    body
}

/// Says of a member that it has this value, and another latest version.
fn news(id: &ChitchatId, (key, value): (&str, &str), version: u64, latest: u64) -> Vec<u8> {
    let mut steps = vec![0];
    id.serialize(&mut steps);
    steps.extend([0; 16]);
    steps.push(1);
    key.serialize(&mut steps);
    value.serialize(&mut steps);
    steps.extend(version.to_le_bytes());
    steps.extend([0, 2]);
    steps.extend(latest.to_le_bytes());
    [&[2][..], &(steps.len() as u16).to_le_bytes(), &steps, &[0]].concat()
}

/// Another member comes, and is seen by all.
async fn goes_on(nodes: &[Node]) {
    let late = Node::start("late", &[nodes[0].address()]).await;
    for node in nodes {
        let sees = || node.ring.view().find("late").is_some_and(|found| found.alive);
        until(|| format!("{} does not see late", node.membership.name()), sees).await;
    }
    let sees = || late.membership.members().len();
    until(|| format!("late sees {}", sees()), || sees() > nodes.len()).await;
}

#[tokio::test]
async fn versions_that_contradict_each_other_do_not_end_the_gossip() {
    let nodes = cluster(2).await;
    let stranger = name(0, 8);
    for node in &nodes {
        assert!(say(node.address(), SYN, &members(std::slice::from_ref(&stranger))).await);
        assert!(!say(node.address(), ACK, &news(&stranger, ("key", "value"), 100, 5)).await);
        let own = node.membership.shared().id.clone();
        assert!(!say(node.address(), ACK, &news(&own, ("key", "value"), u64::MAX, u64::MAX)).await);
    }
    goes_on(&nodes).await;
}

#[tokio::test]
async fn very_many_members_and_long_names_do_not_end_the_gossip() {
    let nodes = cluster(2).await;
    let to = nodes[0].address();
    for number in 0..100 {
        assert!(say(to, SYN, &members(&[name(number, 1_000)])).await);
    }
    // Each of the two hears of others first, and neither has room for those of the other.
    let many =
        |from: usize| (from..from + 10_000).map(|number| name(number, 5)).collect::<Vec<_>>();
    let (first, second) = (members(&many(0)), members(&many(20_000)));
    assert!(say(to, SYN, &members(&[name(0, 65_450)])).await);
    let both = tokio::join!(say(to, SYN, &first), say(nodes[1].address(), SYN, &second));
    assert_eq!(both, (true, true), "those that are known are heard of all the same");
    tokio::time::sleep(SUSPECT * 2).await;
    for node in &nodes {
        node.shows(&["a:ACTIVE", "b:ACTIVE"]).await;
        let known = node.membership.shared().record.with_ledger(|ledger, _| ledger.nodes().count());
        assert!(known < 1_400, "{known}");
    }
}

#[tokio::test]
async fn claim_that_nobody_could_exceed_is_not_believed() {
    let nodes = cluster(2).await;
    let stranger = name(0, 8);
    let claim = format!(
        r#"{{"ring":"ingester","id":"a","incarnation":{},"address":"stranger:1","state":"ACTIVE",
            "tokens":{{"seed":{{"seed":1,"count":4}}}},"registered":5}}"#,
        u64::MAX
    );
    for node in &nodes {
        assert!(say(node.address(), SYN, &members(std::slice::from_ref(&stranger))).await);
        let said = ("claim/ingester/a", claim.as_str());
        assert!(say(node.address(), ACK, &news(&stranger, said, 1, 1)).await);
    }
    goes_on(&nodes).await;
    for node in &nodes {
        let view = node.ring.view();
        assert_eq!(&*view.find("a").unwrap().address, "a:9095");
    }
}
