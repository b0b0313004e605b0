//! The bodies of answers over gRPC: counted until they are written.
//!
//! Invariant: a call has its place, and the bytes of its answer count against the budget, until the connection
//! has written its last piece; a client that takes none of a whole answer for a minute loses its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, Response};
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::budget::Holding;

/// The connection takes over so much at a time, whatever its client reads.
pub(super) const PIECE: usize = 64 * 1024;

/// A body in pieces.
#[derive(Default)]
pub(super) struct AnswerBody {
    inner: Body,
    /// The rest of a message.
    rest: Bytes,
    /// The bytes of that message, in all.
    length: u64,
    /// The place of the call; none where the guard refused it.
    holding: Option<Arc<Holding>>,
    /// The status that ends the stream early.
    ends: Option<BoxFuture<'static, Status>>,
    is_over: bool,
}

impl AnswerBody {
    /// A refusal, which holds nothing.
    pub(super) fn refusal(status: Status) -> Response<AnswerBody> {
        status.into_http()
    }

    /// The answer to a call with one answer.
    pub(super) fn whole(answer: Response<Body>, holding: Arc<Holding>) -> Response<AnswerBody> {
        holding.begin_answer();
        answer.map(|inner| AnswerBody {
            inner,
            holding: Some(holding),
            ..AnswerBody::default()
        })
    }

    /// The answers of a stream, which may go on for any time, until something ends it.
    pub(super) fn stream(
        answer: Response<Body>,
        holding: Arc<Holding>,
        ends: Option<BoxFuture<'static, Status>>,
    ) -> Response<AnswerBody> {
        answer.map(|inner| AnswerBody {
            inner,
            holding: Some(holding),
            ends,
            ..AnswerBody::default()
        })
    }

    /// Ends with a status behind the bytes that were passed on.
    fn end(&mut self, status: Status) -> Frame<Piece> {
        self.is_over = true;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        // A status without metadata that no header can carry.
        let _ = status.add_header(&mut trailers);
        Frame::trailers(trailers)
    }

    /// The next piece of a message.
    fn piece(&mut self) -> Piece {
        let n = self.rest.len().min(PIECE);
        let bytes = self.rest.split_to(n);
        let is_last = self.rest.is_empty();
        Piece {
            bytes,
            holding: self.holding.clone(),
            gives_back: if is_last { self.length } else { 0 },
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(ends) = &mut self.ends
            && let Poll::Ready(status) = ends.as_mut().poll(context)
        {
            return Poll::Ready(Some(Ok(self.end(status))));
        }
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            let bytes = match frame.into_data() {
                Ok(bytes) => bytes,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            };
            let n = bytes.len() as u64;
            if let Some(holding) = &self.holding
                && let Err(refused) = holding.take(n, n)
            {
                return Poll::Ready(Some(Ok(self.end(refused))));
            }
            (self.rest, self.length) = (bytes, n);
        }
        let piece = self.piece();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.rest.is_empty() && self.inner.is_end_stream()
    }
}

/// Bytes of an answer; those of a message are given back once its last piece is written.
pub(super) struct Piece {
    bytes: Bytes,
    holding: Option<Arc<Holding>>,
    gives_back: u64,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(holding) = &self.holding
            && self.gives_back > 0
        {
            holding.give_back(self.gives_back);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tonic::Code;

    use super::super::budget::RequestBudget;
    use super::*;

    fn of(bytes: Vec<u8>) -> Response<Body> {
        let whole = Full::new(Bytes::from(bytes)).map_err(|_| unreachable!());
        Response::new(Body::new(whole))
    }

    #[tokio::test]
    async fn p8_an_answer_counts_until_its_last_piece_is_written() {
        let budget = Arc::new(RequestBudget::new(1, 1 << 20));
        let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let holding = budget.hold_alone().expect("a place");
        let mut body = AnswerBody::whole(of(sent.clone()), holding).into_body();
        let (mut read, mut pieces) = (vec![], vec![]);
        while read.len() < sent.len() {
            let frame = body.frame().await.expect("more").expect("it is sound");
            let Ok(piece) = frame.into_data() else {
                panic!("data comes first")
            };
            assert!(piece.remaining() <= PIECE);
            read.extend_from_slice(piece.chunk());
            pieces.push(piece);
            assert_eq!(budget.bytes(), 200_000);
        }
        assert_eq!(read, sent);
        // The connection has it, and has written all but the last piece.
        drop(body);
        let last = pieces.pop();
        drop(pieces);
        assert_eq!(budget.bytes(), 200_000);
        assert!(budget.hold_alone().is_err(), "it has its place");
        drop(last);
        assert_eq!(budget.bytes(), 0);
        budget.hold_alone().expect("the place is free");
    }

    #[tokio::test]
    async fn p8_an_answer_without_room_ends_with_its_refusal() {
        let budget = Arc::new(RequestBudget::new(8, 1 << 20));
        let holding = budget.hold_alone().expect("a place");
        holding.take(700 << 10, 700 << 10).expect("there is room");
        let own = budget.hold_alone().expect("a place");
        let mut body = AnswerBody::whole(of(vec![0; 200_000]), own).into_body();
        let frame = body.frame().await.expect("an end").expect("it is sound");
        let Ok(trailers) = frame.into_trailers() else {
            panic!("there is no room for it")
        };
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn p8_a_stream_gives_back_what_was_written_and_ends_when_it_is_ended() {
        let budget = Arc::new(RequestBudget::new(8, 1 << 20));
        let holding = budget.hold_alone().expect("a place");
        let (end, ended) = tokio::sync::oneshot::channel();
        let ends = async move { ended.await.unwrap_or_else(|_| Status::cancelled("")) };
        let body = AnswerBody::stream(of(vec![0; 100]), holding, Some(Box::pin(ends)));
        let mut body = body.into_body();
        let frame = body.frame().await.expect("a piece").expect("it is sound");
        let piece = frame.into_data().ok().expect("data");
        assert_eq!(budget.bytes(), 100);
        drop(piece);
        assert_eq!(budget.bytes(), 0);
        end.send(Status::unauthenticated("so")).expect("it waits");
        let frame = body.frame().await.expect("an end").expect("it is sound");
        let trailers = frame.into_trailers().ok().expect("trailers");
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!(status.code(), Code::Unauthenticated);
    }
}
