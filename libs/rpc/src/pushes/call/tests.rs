use std::task::Waker;

use futures_util::{FutureExt, future::BoxFuture};

use super::*;

fn answer(number: u64) -> PushAnswer {
    PushAnswer { number, ..PushAnswer::default() }
}

fn leaving(number: u64) -> PushAnswer {
    PushAnswer { number, is_leaving: true, ..PushAnswer::default() }
}

/// A push that has been put into the call.
fn push(call: &Arc<Call>, bytes: usize) -> BoxFuture<'static, Outcome> {
    let call = Arc::clone(call);
    let mut push = async move { call.push(vec![7; bytes].into(), String::new()).await }.boxed();
    assert!(poll(&mut push).is_none());
    push
}

fn poll(push: &mut BoxFuture<'static, Outcome>) -> Option<Outcome> {
    match push.poll_unpin(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// What is sent at once, in pieces; whether more may follow.
fn sent(body: &mut FrameBody) -> (Vec<Bytes>, bool) {
    let mut pieces = Vec::new();
    loop {
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(frame)) => pieces.push(frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) => return (pieces, false),
            Poll::Pending => return (pieces, true),
        }
    }
}

/// The frames in what was sent.
fn frames(pieces: &[Bytes]) -> Vec<PushFrame> {
    let mut bytes = Bytes::from(pieces.concat());
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let prefix = bytes.split_to(5);
        assert_eq!(prefix[0], 0);
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        frames.push(PushFrame::decode(bytes.split_to(length as usize)).unwrap());
    }
    frames
}

#[test]
fn frame_is_what_a_client_would_send() {
    let request = tactus_proto::tactus::v1::PushRequest {
        tenant: "some".to_owned(),
        resources: vec![vec![3; 9_000].into()],
        ..Default::default()
    };
    for traceparent in ["", "00-1234-56-01"] {
        let encoded = Bytes::from(request.encode_to_vec());
        let call = Arc::new(Call::default());
        let mut body = FrameBody::of(&call);
        let mut push = call.push(encoded.clone(), traceparent.to_owned()).boxed();
        assert!(push.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
        let (pieces, _) = sent(&mut body);
        let number = 1;
        let frame =
            PushFrame { number, traceparent: traceparent.to_owned(), push: Some(request.clone()) };
        assert_eq!(pieces.concat()[5..], frame.encode_to_vec());
        assert_eq!(frames(&pieces), [frame]);
        // Large pushes are not copied.
        assert_eq!(pieces[1].as_ptr(), encoded.as_ptr());
    }
}

#[test]
fn small_frames_that_wait_are_one_piece_and_answers_go_by_number() {
    let call = Arc::new(Call::default());
    let mut body = FrameBody::of(&call);
    assert_eq!(sent(&mut body), (vec![], true));
    let mut pushes: Vec<_> = (0..3).map(|_| push(&call, 0)).collect();
    let (pieces, _) = sent(&mut body);
    assert_eq!(pieces.len(), 1);
    let numbers: Vec<_> = frames(&pieces).iter().map(|frame| frame.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let code = Code::ResourceExhausted as u32;
    call.answered(PushAnswer { number: 3, code, message: "full".to_owned(), ..answer(3) });
    call.answered(answer(1));
    call.answered(answer(77));
    assert!(matches!(poll(&mut pushes[0]), Some(Outcome::Answered(Ok(_)))));
    assert!(poll(&mut pushes[1]).is_none());
    let Some(Outcome::Answered(Err(status))) = poll(&mut pushes[2]) else { panic!("no status") };
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "full"));
}

#[test]
fn push_that_is_given_up_is_neither_kept_nor_sent() {
    let call = Arc::new(Call::default());
    let mut body = FrameBody::of(&call);
    let bytes = Bytes::from(vec![7; 100]);
    for _ in 0..10_000 {
        let given_up = call.push(bytes.clone(), String::new()).boxed();
        assert!({ given_up }.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(bytes.is_unique());
    assert!(call.0.lock().waiting.len() <= FORGOTTEN + 1);
    let _kept = push(&call, 0);
    let numbers: Vec<_> = frames(&sent(&mut body).0).iter().map(|frame| frame.number).collect();
    assert_eq!(numbers, [10_001]);
}

#[test]
fn pushes_behind_the_last_that_was_read_go_elsewhere() {
    let call = Arc::new(Call::default());
    let mut body = FrameBody::of(&call);
    let mut pushes: Vec<_> = (0..3).map(|_| push(&call, 0)).collect();
    assert_eq!(frames(&sent(&mut body).0).len(), 3);
    let mut unsent = push(&call, 0);
    call.answered(leaving(2));
    assert!(!call.is_open());
    assert!(matches!(poll(&mut pushes[2]), Some(Outcome::Unread)));
    assert!(matches!(poll(&mut unsent), Some(Outcome::Unread)));
    assert_eq!(sent(&mut body), (vec![], false));
    call.answered(answer(2));
    assert!(matches!(poll(&mut pushes[1]), Some(Outcome::Answered(Ok(_)))));
    let mut late = async move { call.push(Bytes::new(), String::new()).await }.boxed();
    assert!(matches!(poll(&mut late), Some(Outcome::Unread)));
}

#[test]
fn end_of_a_call_tells_what_was_sent_from_what_was_not() {
    let call = Arc::new(Call::default());
    let mut body = FrameBody::of(&call);
    let mut first = push(&call, 0);
    assert_eq!(frames(&sent(&mut body).0).len(), 1);
    let mut second = push(&call, 0);
    call.end(|is_sent| match is_sent {
        true => Outcome::Answered(Err(Status::internal("broken"))),
        false => Outcome::Unread,
    });
    assert!(matches!(poll(&mut first), Some(Outcome::Answered(Err(_)))));
    assert!(matches!(poll(&mut second), Some(Outcome::Unread)));
    assert_eq!(sent(&mut body), (vec![], false));
}

#[test]
fn closed_call_sends_what_waits() {
    let call = Arc::new(Call::default());
    let mut body = FrameBody::of(&call);
    let _push = push(&call, 0);
    call.close();
    let (pieces, goes_on) = sent(&mut body);
    assert_eq!((frames(&pieces).len(), goes_on), (1, false));
}
