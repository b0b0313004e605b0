//! The call for predictions over gRPC: its message out of the body of the request, and its answer into one.
//!
//! Invariant: it is answered as the generated service would answer it. A message that comes in one piece is not
//! copied, and an answer is written into a buffer of its size.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use super::access::Caller;
use super::bodies::{ENCODING, PREFIX};
use super::inference_service::InferenceService;
use crate::proto::inference::{ModelInferRequest, ModelInferResponse};

/// True if a call can be answered here: the generated service refuses unknown encodings.
pub(super) fn takes(headers: &HeaderMap) -> bool {
    let encoding = headers.get(ENCODING);
    encoding.is_none_or(|encoding| encoding == "identity")
}

/// The answer to a call with this body.
pub(super) async fn answer<B>(
    service: InferenceService,
    caller: Caller,
    head: Parts,
    body: B,
) -> Result<Response<Body>, Infallible>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let bytes_max = service.0.config.message_bytes_max;
    let answer = match read(body, bytes_max).await {
        Ok(message) => service.infer(&caller, &head.headers, message).await,
        Err(status) => Err(status),
    };
    Ok(answer.map_or_else(Status::into_http, written))
}

/// The one message of a body, once that has ended.
async fn read<B>(mut body: B, bytes_max: usize) -> Result<ModelInferRequest, Status>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let mut pieces = Pieces::default();
    loop {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            None => break,
            Some(Err(status)) => return Err(status),
            Some(Ok(frame)) => pieces.push(frame.into_data().unwrap_or_default(), bytes_max)?,
        }
    }
    let mut whole = pieces.whole();
    match length(&whole, bytes_max)? {
        Some(length) if whole.len() - PREFIX == length => {
            whole.advance(PREFIX);
            let message = ModelInferRequest::decode(whole);
            message.map_err(|error| Status::internal(error.to_string()))
        }
        None if whole.is_empty() => Err(Status::internal("Missing request message.")),
        _ => Err(Status::internal("Unexpected EOF decoding stream.")),
    }
}

/// The pieces of a message: the first one as it came, or several that are joined.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    /// Takes one more; refuses a message that is too long, or that has another one behind it.
    fn push(&mut self, piece: Bytes, bytes_max: usize) -> Result<(), Status> {
        if self.joined.is_empty() && self.first.is_empty() {
            self.first = piece;
        } else {
            if self.joined.is_empty() {
                let length = length(&self.first, bytes_max)?;
                self.joined.reserve(PREFIX + length.unwrap_or(0));
                self.joined
                    .extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.joined.extend_from_slice(&piece);
        }
        let n = self.first.len() + self.joined.len();
        let begin = if self.joined.is_empty() {
            &self.first[..]
        } else {
            &self.joined[..]
        };
        if length(begin, bytes_max)?.is_some_and(|length| n - PREFIX > length) {
            let what = "the call has more than the one message that it may have";
            return Err(Status::invalid_argument(what));
        }
        Ok(())
    }

    fn whole(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        }
    }
}

/// The length of the message that begins so; none where its prefix is not whole.
fn length(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some((&[flag, a, b, c, d], _)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    if flag != 0 {
        let what = "protocol error: received message with compressed-flag but no grpc-encoding";
        return Err(Status::internal(format!("{what} (flag {flag})")));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > bytes_max {
        return Err(Status::out_of_range(format!(
            "Error, decoded message length too large: found {length} bytes, the limit is: {bytes_max} bytes"
        )));
    }
    Ok(Some(length))
}

fn written(message: ModelInferResponse) -> Response<Body> {
    let length = message.encoded_len();
    let Ok(claimed) = u32::try_from(length) else {
        let what = "the answer has more bytes than a message may have: ask for fewer rows";
        return Status::out_of_range(what).into_http();
    };
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(claimed);
    message.encode_raw(&mut bytes);
    let mut answer = Response::new(Body::new(PredictionBody {
        message: Some(bytes.freeze()),
        is_over: false,
    }));
    let is_grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(CONTENT_TYPE, is_grpc);
    answer
}

/// A message, and then that all went well.
struct PredictionBody {
    message: Option<Bytes>,
    is_over: bool,
}

impl HttpBody for PredictionBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tonic::Code;

    use super::*;

    struct Come(VecDeque<Bytes>);

    impl HttpBody for Come {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn message(flag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("it is short");
        [&[flag][..], &length.to_be_bytes(), content].concat()
    }

    fn request() -> ModelInferRequest {
        ModelInferRequest {
            model_name: "m".to_owned(),
            raw_input_contents: vec![vec![7; 300].into()],
            ..Default::default()
        }
    }

    async fn read_in(bytes: &[u8], size: usize) -> Result<ModelInferRequest, Status> {
        let pieces = bytes.chunks(size).map(Bytes::copy_from_slice);
        read(Come(pieces.collect()), 400).await
    }

    #[tokio::test]
    async fn a_message_is_read_in_any_pieces() {
        let bytes = message(0, &request().encode_to_vec());
        for size in [1, 3, 4, 5, 6, 100, bytes.len()] {
            let read = read_in(&bytes, size).await.expect("it is sound");
            assert_eq!(read, request(), "{size}");
        }
        let empty = read_in(&message(0, &[]), 9).await.expect("it is sound");
        assert_eq!(empty, ModelInferRequest::default());
    }

    #[tokio::test]
    async fn p9_a_body_that_is_no_message_is_refused() {
        let check = async |bytes: &[u8], code: Code, start: &str| {
            for size in [1, 4, 600] {
                let refusal = read_in(bytes, size).await.expect_err("it is no message");
                assert_eq!(refusal.code(), code, "{refusal}");
                assert!(refusal.message().starts_with(start), "{refusal}");
            }
        };
        let whole = message(0, &request().encode_to_vec());
        check(&[], Code::Internal, "Missing request message").await;
        check(&whole[..3], Code::Internal, "Unexpected EOF").await;
        check(&whole[..99], Code::Internal, "Unexpected EOF").await;
        let broken = message(0, &[0xff; 3]);
        check(&broken, Code::Internal, "failed to decode Protobuf message").await;
        let twice = [&whole[..], &whole].concat();
        check(&twice, Code::InvalidArgument, "the call has more than").await;
        check(
            &message(1, &[]),
            Code::Internal,
            "protocol error: received message",
        )
        .await;
        let long = message(0, &[0; 401]);
        check(&long, Code::OutOfRange, "Error, decoded message length").await;
    }
}
