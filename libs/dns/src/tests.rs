use super::*;
use proptest::prelude::*;
use tokio::net::TcpListener;

/// An answer with these targets to a question, whose name the records refer to.
fn answer(question: &[u8], targets: &[(u16, u16, &str)], cut: bool) -> Vec<u8> {
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&[if cut { 0x83 } else { 0x81 }, 0x80, 0, 1]);
    out.extend_from_slice(&(targets.len() as u16 + 1).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&question[12..]);
    // A record of another kind comes first.
    out.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 5, 0, 1, 0]);
    for (priority, port, target) in targets {
        let mut data = [*priority, 0, *port].map(u16::to_be_bytes).concat();
        for label in target.split('.') {
            data.push(label.len() as u8);
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        out.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 5]);
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
    }
    out
}

fn targets(message: &[u8], id: u16, question: &[u8]) -> Option<Vec<String>> {
    match read_answer(message, id, question)?.ok()? {
        Answer::Targets(targets) => Some(targets),
        Answer::Cut => None,
    }
}

#[test]
fn system_settings_are_read() {
    let text = "# comment\nnameserver 10.0.0.10\nnameserver bad\nsearch ns.svc.cluster.local svc.cluster.local\n\
                options ndots:5 timeout:1\n";
    let resolver = Resolver::of(text);
    assert_eq!((resolver.servers.len(), resolver.ndots), (1, 5));
    assert_eq!(
        resolver.candidates("_c._tcp.m"),
        ["_c._tcp.m.ns.svc.cluster.local", "_c._tcp.m.svc.cluster.local", "_c._tcp.m"]
    );
    assert_eq!(resolver.candidates("_c._tcp.m.x.y.z")[0], "_c._tcp.m.x.y.z");
    assert_eq!(resolver.candidates("a.b."), ["a.b"]);
    assert_eq!(Resolver::of("").servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
}

#[test]
fn records_are_read_by_priority() {
    let question = question(7, "_c._tcp.m").unwrap();
    let message = answer(&question, &[(20, 2, "b.m"), (10, 11211, "m-0.m.ns")], false);
    assert_eq!(targets(&message, 7, &question).unwrap(), ["m-0.m.ns:11211", "b.m:2"]);
    assert_eq!(targets(&message, 8, &question), None, "another question");
    let cut = answer(&question, &[], true);
    assert!(matches!(read_answer(&cut, 7, &question), Some(Ok(Answer::Cut))));
    let mut missing = message.clone();
    missing[3] = 0x83;
    assert_eq!(targets(&missing, 7, &question).unwrap(), [""; 0]);
    missing[3] = 0x82;
    assert!(read_answer(&missing, 7, &question).unwrap().is_err(), "server failure");
    assert!(super::question(1, "a..b").is_err() && super::question(1, &"a".repeat(64)).is_err());
}

#[tokio::test]
async fn answer_that_is_cut_is_asked_for_again_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        // What is no answer is passed over.
        socket.send_to(b"noise", client).await.unwrap();
        let cut = answer(&buffer[..length], &[], true);
        socket.send_to(&cut, client).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut question).await.unwrap();
        let whole = answer(&question, &[(1, 11211, "m-1.m"), (1, 11211, "m-0.m")], false);
        stream.write_u16(whole.len() as u16).await.unwrap();
        stream.write_all(&whole).await.unwrap();
    });
    let resolver = Resolver { servers: vec![address], search: Vec::new(), ndots: 1 };
    let found = ask_all(&resolver, "_c._tcp.m").await.unwrap();
    assert_eq!(found, ["m-0.m:11211", "m-1.m:11211"]);
}

proptest! {
    #[test]
    fn damaged_answers_never_panic(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let question = question(7, "_c._tcp.m").unwrap();
        let mut message = answer(&question, &[(1, 2, "a.b"), (1, 2, "c")], false);
        targets(&message[..cut.index(message.len())], 7, &question);
        let at = place.index(message.len());
        message[at] = byte;
        targets(&message, 7, &question);
        let mut forged = message[..12].to_vec();
        forged.extend(garbage);
        targets(&forged, 7, &question);
    }
}
