//! Bodies in pieces, compressed and not, against budgets and deadlines.

use std::collections::VecDeque;
use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use tonic::Code;

use super::super::budget::RequestBudget;
use super::*;

/// A body that comes in these pieces, and then stays open or ends.
struct Pieces(VecDeque<Bytes>, bool);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.1 => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty() && !self.1
    }
}

fn message(flag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("it is short");
    [&[flag][..], &length.to_be_bytes(), content].concat()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(content).expect("a vector takes it");
    encoder.finish().expect("a vector takes it")
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::fast());
    encoder.write_all(content).expect("a vector takes it");
    encoder.finish().expect("a vector takes it")
}

const BYTES_MAX: usize = 1 << 20;

fn bounds(messages: Messages, message_bytes_max: usize) -> BodyBounds {
    BodyBounds::new(messages == Messages::Many, message_bytes_max)
}

fn body(
    budget: &Arc<RequestBudget>,
    encoding: &str,
    messages: Messages,
    (pieces, stays): (Vec<Vec<u8>>, bool),
) -> RequestBody<Pieces> {
    let holding = budget.hold_alone().expect("a place");
    let pieces = pieces.into_iter().map(Bytes::from).collect();
    let inner = Pieces(pieces, stays);
    let mut headers = HeaderMap::new();
    headers.insert(ENCODING, encoding.parse().expect("a header"));
    let body = RequestBody::new(inner, &mut headers, holding, bounds(messages, BYTES_MAX));
    assert_eq!(headers.contains_key(ENCODING), body.encoding.is_none());
    body
}

async fn next(body: &mut RequestBody<Pieces>) -> Option<Result<Bytes, Status>> {
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    frame.map(|frame| frame.map(|frame| frame.into_data().expect("no trailers")))
}

async fn all(mut body: RequestBody<Pieces>) -> Result<Vec<u8>, Status> {
    let mut read = vec![];
    while let Some(bytes) = next(&mut body).await {
        read.extend_from_slice(&bytes?);
    }
    Ok(read)
}

#[tokio::test]
async fn p8_messages_are_passed_on_whole_however_they_come() {
    let long = vec![7; 1000];
    let plain = [message(0, b"one"), message(0, b""), message(0, &long)].concat();
    let mixed = [
        message(1, &gzipped(b"one")),
        message(0, b""),
        message(1, &gzipped(&long)),
    ];
    let other = [
        message(0, b"one"),
        message(1, &deflated(b"")),
        message(1, &deflated(&long)),
    ];
    let budget = Arc::new(RequestBudget::new(8, 1 << 20));
    for (encoding, sent) in [
        ("identity", plain.clone()),
        ("gzip", plain.clone()),
        ("gzip", mixed.concat()),
        ("deflate", other.concat()),
    ] {
        for size in [1, 2, 3, 5, 7, 64, sent.len()] {
            for messages in [Messages::One, Messages::Many] {
                let pieces = sent.chunks(size).map(<[u8]>::to_vec).collect();
                let body = body(&budget, encoding, messages, (pieces, false));
                let read = all(body).await.expect("it is sound");
                assert_eq!(read, plain, "{encoding} in pieces of {size}");
                assert_eq!(budget.bytes(), 0);
            }
        }
    }
}

#[tokio::test]
async fn p8_a_large_message_is_counted_at_the_length_that_it_claims() {
    const CLAIM: usize = 600 << 10;
    let budget = Arc::new(RequestBudget::new(8, 1 << 20));
    let begun = |length: usize| {
        let whole = message(0, &vec![0; length]);
        (vec![whole[..PREFIX + 1].to_vec()], false)
    };
    let claim = || begun(CLAIM);
    let mut one = body(&budget, "identity", Messages::One, claim());
    next(&mut one)
        .await
        .expect("a piece")
        .expect("there is room");
    assert_eq!(budget.bytes(), CLAIM as u64);
    let mut other = body(&budget, "identity", Messages::One, claim());
    let refused = next(&mut other)
        .await
        .expect("an end")
        .expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.metadata().contains_key("retry-after-ms"));
    let mut small = body(&budget, "identity", Messages::One, begun(60 << 10));
    next(&mut small)
        .await
        .expect("a piece")
        .expect("a claim of little takes nothing");
    assert_eq!(budget.bytes(), CLAIM as u64 + 1);
    drop(one);
    let mut again = body(&budget, "identity", Messages::One, claim());
    next(&mut again)
        .await
        .expect("a piece")
        .expect("there is room");
}

#[tokio::test]
async fn p8_one_message_is_held_until_it_is_answered_and_of_many_each_until_the_next() {
    let sent = [message(0, &[1; 400]), message(0, &[2; 400])];
    let budget = Arc::new(RequestBudget::new(8, 600));
    let mut many = body(&budget, "identity", Messages::Many, (sent.to_vec(), false));
    for _ in 0..2 {
        next(&mut many)
            .await
            .expect("a message")
            .expect("there is room");
        assert_eq!(budget.bytes(), 400);
    }
    assert!(next(&mut many).await.is_none());
    assert_eq!(budget.bytes(), 0);
    let mut one = body(
        &budget,
        "identity",
        Messages::One,
        (sent[..1].to_vec(), false),
    );
    next(&mut one)
        .await
        .expect("a message")
        .expect("there is room");
    assert!(next(&mut one).await.is_none());
    assert_eq!(budget.bytes(), 400);
    drop(one);
    assert_eq!(budget.bytes(), 0);
}

#[tokio::test]
async fn p8_a_bomb_is_counted_at_what_it_is_inflated_to() {
    let bomb = message(1, &gzipped(&vec![0; 4 * BYTES_MAX]));
    let wide = Arc::new(RequestBudget::new(8, 1 << 30));
    let long = body(&wide, "gzip", Messages::One, (vec![bomb.clone()], false));
    let refused = all(long).await.expect_err("it is too long");
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(wide.bytes(), 0);
    let narrow = Arc::new(RequestBudget::new(8, 1 << 19));
    let much = body(&narrow, "gzip", Messages::One, (vec![bomb], false));
    let refused = all(much).await.expect_err("there is no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(narrow.bytes(), 0);
    let torn = message(1, &gzipped(&[1; 100])[..20]);
    let torn = body(&wide, "gzip", Messages::One, (vec![torn], false));
    let refused = all(torn).await.expect_err("it is torn");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let claim = [&[1][..], &u32::MAX.to_be_bytes(), &[0; 9]].concat();
    let claim = body(&wide, "gzip", Messages::One, (vec![claim], true));
    let refused = all(claim).await.expect_err("it is too long");
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(start_paused = true)]
async fn p8_a_stranger_sends_little_and_soon() {
    let budget = Arc::new(RequestBudget::new(8, 1 << 20));
    let of_stranger = |bytes: Vec<u8>, stays| {
        let holding = budget.hold_alone().expect("a place");
        let inner = Pieces([Bytes::from(bytes)].into(), stays);
        let bounds = BodyBounds::of_strangers();
        RequestBody::new(inner, &mut HeaderMap::new(), holding, bounds)
    };
    let sound = all(of_stranger(message(0, &[1; 4096]), false)).await;
    assert_eq!(sound.expect("it is small").len(), PREFIX + 4096);
    let start = tokio::time::Instant::now();
    let long = all(of_stranger(message(0, &[1; 4097])[..PREFIX].to_vec(), true)).await;
    assert_eq!(long.expect_err("it is too long").code(), Code::OutOfRange);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let late = all(of_stranger(message(0, &[1; 100])[..50].to_vec(), true)).await;
    assert_eq!(late.expect_err("it is late").code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(budget.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn p8_one_message_comes_in_time_and_many_take_what_they_take() {
    let budget = Arc::new(RequestBudget::new(8, 1000));
    let half = || (vec![message(0, &[1; 100])[..50].to_vec()], true);
    let late = all(body(&budget, "identity", Messages::One, half())).await;
    assert_eq!(late.expect_err("it is late").code(), Code::DeadlineExceeded);
    let quiet = all(body(&budget, "identity", Messages::Many, half()));
    let hours = Duration::from_secs(36_000);
    tokio::time::timeout(hours, quiet)
        .await
        .expect_err("it is open");
}

/// A body that ends without its end, as it does where its caller has reset the call.
struct Reset;

impl HttpBody for Reset {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn p8_a_request_whose_caller_has_gone_is_not_read_to_its_end() {
    let budget = Arc::new(RequestBudget::new(8, 100));
    let ended = |messages| {
        let holding = budget.hold_alone().expect("a place");
        let bounds = bounds(messages, 100);
        let mut body = RequestBody::new(Reset, &mut HeaderMap::new(), holding, bounds);
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(&mut body).poll_frame(&mut context).is_ready()
    };
    assert!(!ended(Messages::One));
    // The messages of a stream that came before its end count.
    assert!(ended(Messages::Many));
}
