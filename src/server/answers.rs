//! The bodies of large answers over gRPC: counted until they are read.
//!
//! Invariant: the bytes of a large answer count against the budget until the client has taken all but its last
//! piece, and a client that takes none for a minute loses its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::budget::Holding;
use super::conduct::{Conduct, Unread};

/// The connection takes over so much at a time, whatever its client reads.
const PIECE: usize = 64 * 1024;

/// Stands among the extensions of an answer that has more bytes than a small message.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsLarge;

/// The answer with its body counted.
pub(super) fn counted(
    answer: Response<Body>,
    holding: Arc<Holding>,
    conduct: &Arc<Conduct>,
) -> Response<Body> {
    let unread = conduct.answer();
    answer.map(|inner| {
        Body::new(AnswerBody {
            inner,
            rest: Bytes::new(),
            holding,
            _unread: unread,
        })
    })
}

/// A body in pieces.
struct AnswerBody {
    inner: Body,
    /// The rest of a message.
    rest: Bytes,
    holding: Arc<Holding>,
    _unread: Unread,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(bytes) => {
                    let n = bytes.len() as u64;
                    if let Err(refused) = self.holding.take(n, n) {
                        return Poll::Ready(Some(Err(refused)));
                    }
                    self.rest = bytes;
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let n = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(n);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::super::budget::RequestBudget;
    use super::*;

    #[tokio::test]
    async fn p8_a_large_answer_counts_until_its_last_piece_is_taken() {
        let budget = Arc::new(RequestBudget::new(8, 1 << 20));
        let holding = budget.hold().expect("a place");
        let conduct = Arc::new(Conduct::default());
        let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let whole = Full::new(Bytes::from(sent.clone())).map_err(|_| unreachable!());
        let answer = Response::new(Body::new(whole));
        let mut body = counted(answer, holding, &conduct).into_body();
        let mut read = vec![];
        while read.len() < sent.len() {
            let frame = body.frame().await.expect("more").expect("it is sound");
            let piece = frame.into_data().expect("data");
            assert!(piece.len() <= PIECE);
            read.extend(piece);
            assert_eq!(budget.bytes(), 200_000);
        }
        assert_eq!(read, sent);
        drop(body);
        assert_eq!(budget.bytes(), 0);
        let holding = budget.hold().expect("a place");
        holding.take(700 << 10, 700 << 10).expect("there is room");
        let whole = Full::new(Bytes::from(sent)).map_err(|_| unreachable!());
        let answer = Response::new(Body::new(whole));
        let refused = counted(answer, budget.hold().expect("a place"), &conduct);
        let refused = refused.into_body().frame().await.expect("an end");
        refused.expect_err("there is no room for it");
    }
}
