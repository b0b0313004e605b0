//! The bodies of requests over gRPC: their bytes are counted before they are held, and inflated here.
//!
//! Invariant: a large message is counted at the length that it claims before any of it is read, a small one
//! as it comes, and both by their inflated size. A message is inflated in slices, between which others
//! are served.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Cursor, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::BoxError;

use super::budget::{Holding, SMALL_MAX};

/// The longest time for the body of a call with one message.
const BODY_MAX: Duration = Duration::from_secs(60);
/// The time for the body of a call that takes no credential, and the bytes of its message.
const STRANGERS_BODY_MAX: Duration = Duration::from_secs(5);
const STRANGERS_MESSAGE_MAX: u64 = 4 * 1024;
/// Bytes that are inflated before others are served.
const SLICE: usize = 64 * 1024;
/// The flag and the length before each message.
pub(super) const PREFIX: usize = 5;
pub(super) const ENCODING: &str = "grpc-encoding";

/// The number of messages of a request: one or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Messages {
    /// One, which is held until it is answered.
    One,
    /// Any number over any time; each is held until the next one is read.
    Many,
}

/// The bounds of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyBounds {
    pub messages: Messages,
    /// Bytes of a message, compressed or not.
    pub message_bytes_max: u64,
    /// The longest time for a body with one message.
    pub time_max: Duration,
}

impl BodyBounds {
    /// The bounds of a call whose caller has shown a credential.
    pub(super) fn new(is_stream: bool, message_bytes_max: usize) -> BodyBounds {
        BodyBounds {
            messages: if is_stream {
                Messages::Many
            } else {
                Messages::One
            },
            message_bytes_max: message_bytes_max as u64,
            time_max: BODY_MAX,
        }
    }

    /// The bounds of a call that takes no credential.
    pub(super) fn of_strangers() -> BodyBounds {
        BodyBounds {
            messages: Messages::One,
            message_bytes_max: STRANGERS_MESSAGE_MAX,
            time_max: STRANGERS_BODY_MAX,
        }
    }
}

/// The encodings that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
}

/// A body as the services read it.
pub(super) struct RequestBody<B> {
    inner: B,
    holding: Arc<Holding>,
    bounds: BodyBounds,
    /// The encoding, where messages may be compressed; they are inflated here, and the services see none.
    encoding: Option<Encoding>,
    stage: BodyStage,
    /// The pieces of one that was inflated, and its bytes in all.
    inflated: VecDeque<Bytes>,
    inflated_bytes: u64,
    /// Bytes that came behind a message which had to be inflated first.
    behind: Bytes,
    /// Bytes of messages that were passed on whole.
    passed: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The stage of reading.
enum BodyStage {
    /// The prefix of a message, of which so many bytes have come.
    Prefix([u8; PREFIX], usize),
    /// A message that is passed on as it comes.
    Passing { left: u64, count: MessageCount },
    /// A message that is inflated once it is whole.
    Collecting {
        length: usize,
        bytes: BytesMut,
        count: MessageCount,
    },
    /// A message that is being inflated.
    Inflating(Box<Inflation>),
}

/// The count of a message against the budget.
#[derive(Clone, Copy)]
enum MessageCount {
    /// The claimed length, counted before any byte is read.
    Claimed(u64),
    /// The bytes, counted as they come.
    AsItComes(u64),
}

impl MessageCount {
    /// Counts so many bytes that have come.
    fn add(&mut self, n: usize, holding: &Holding) -> Result<(), Status> {
        if let MessageCount::AsItComes(counted) = self {
            holding.take(n as u64, SMALL_MAX)?;
            *counted += n as u64;
        }
        Ok(())
    }

    fn counted(self) -> u64 {
        match self {
            MessageCount::Claimed(n) | MessageCount::AsItComes(n) => n,
        }
    }
}

const START: BodyStage = BodyStage::Prefix([0; PREFIX], 0);

/// A message that is being inflated: in pieces, since one that grows is copied from time to time, and
/// is there twice meanwhile.
struct Inflation {
    inflater: Inflater,
    compressed: u64,
    /// The prefix, and the first slice.
    first: BytesMut,
    further: VecDeque<Bytes>,
    length: u64,
}

enum Inflater {
    Gzip(GzDecoder<Cursor<Bytes>>),
    Deflate(ZlibDecoder<Cursor<Bytes>>),
}

impl Inflater {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflater::Gzip(inflater) => inflater.read(out),
            Inflater::Deflate(inflater) => inflater.read(out),
        }
    }
}

impl<B> RequestBody<B> {
    /// Takes over the encoding from the headers, which name none afterwards.
    pub(super) fn new(
        inner: B,
        headers: &mut HeaderMap,
        holding: Arc<Holding>,
        bounds: BodyBounds,
    ) -> RequestBody<B> {
        let encoding = match headers.get(ENCODING).map(HeaderValue::as_bytes) {
            Some(b"gzip") => Some(Encoding::Gzip),
            Some(b"deflate") => Some(Encoding::Deflate),
            // Whatever else is answered by the services.
            _ => None,
        };
        if encoding.is_some() {
            headers.remove(ENCODING);
        }
        RequestBody {
            inner,
            holding,
            bounds,
            encoding,
            stage: START,
            inflated: VecDeque::new(),
            inflated_bytes: 0,
            behind: Bytes::new(),
            passed: 0,
            deadline: None,
        }
    }

    /// The bytes to be passed on, up to a message that has to be inflated first.
    fn pass(&mut self, mut bytes: Bytes) -> Result<Bytes, Status> {
        if self.encoding.is_none() {
            let mut left = bytes.clone();
            while !left.is_empty() {
                self.step(&mut left, None)?;
            }
            return Ok(bytes);
        }
        let mut out = BytesMut::new();
        while !bytes.is_empty() && !matches!(self.stage, BodyStage::Inflating(_)) {
            self.step(&mut bytes, Some(&mut out))?;
        }
        self.behind = bytes;
        Ok(out.freeze())
    }

    /// Takes the next bytes: of a prefix, or of a message.
    fn step(&mut self, left: &mut Bytes, out: Option<&mut BytesMut>) -> Result<(), Status> {
        match &mut self.stage {
            BodyStage::Prefix(prefix, n) => {
                let some = left.len().min(PREFIX - *n);
                prefix[*n..*n + some].copy_from_slice(&left[..some]);
                left.advance(some);
                *n += some;
                if *n == PREFIX {
                    let prefix = *prefix;
                    self.begin(prefix, out)?;
                }
            }
            BodyStage::Passing { left: rest, count } => {
                let some = usize::try_from(*rest).map_or(left.len(), |rest| rest.min(left.len()));
                count.add(some, &self.holding)?;
                if let Some(out) = out {
                    out.extend_from_slice(&left[..some]);
                }
                left.advance(some);
                *rest -= some as u64;
                if *rest == 0 {
                    self.passed += count.counted();
                    self.stage = START;
                }
            }
            BodyStage::Collecting {
                length,
                bytes,
                count,
            } => {
                let some = left.len().min(*length - bytes.len());
                count.add(some, &self.holding)?;
                bytes.extend_from_slice(&left.split_to(some));
                if bytes.len() == *length {
                    let bytes = std::mem::take(bytes).freeze();
                    self.stage = BodyStage::Inflating(Box::new(self.inflation(bytes)));
                }
            }
            BodyStage::Inflating(_) => {}
        }
        Ok(())
    }

    /// A prefix is whole: the message that it announces is counted.
    fn begin(&mut self, prefix: [u8; PREFIX], out: Option<&mut BytesMut>) -> Result<(), Status> {
        let [flag, length @ ..] = prefix;
        let length = u64::from(u32::from_be_bytes(length));
        let is_compressed = flag == 1 && self.encoding.is_some();
        if length > self.bounds.message_bytes_max {
            return Err(self.too_long());
        }
        let count = if length <= SMALL_MAX {
            MessageCount::AsItComes(0)
        } else {
            self.holding.take(length, length)?;
            MessageCount::Claimed(length)
        };
        if is_compressed {
            self.stage = BodyStage::Collecting {
                length: length as usize,
                // The buffer of a counted message is there at once; that of a small one grows with its bytes.
                bytes: match count {
                    MessageCount::Claimed(length) => BytesMut::with_capacity(length as usize),
                    MessageCount::AsItComes(_) => BytesMut::new(),
                },
                count,
            };
            return Ok(());
        }
        if let Some(out) = out {
            out.extend_from_slice(&prefix);
        }
        self.stage = match length {
            0 => START,
            left => BodyStage::Passing { left, count },
        };
        Ok(())
    }

    fn too_long(&self) -> Status {
        let max = self.bounds.message_bytes_max;
        Status::out_of_range(format!(
            "a message has more than the {max} bytes that it may have, compressed or not"
        ))
    }

    fn inflation(&self, bytes: Bytes) -> Inflation {
        let (compressed, cursor) = (bytes.len() as u64, Cursor::new(bytes));
        let inflater = match self.encoding {
            Some(Encoding::Deflate) => Inflater::Deflate(ZlibDecoder::new(cursor)),
            _ => Inflater::Gzip(GzDecoder::new(cursor)),
        };
        let mut first = BytesMut::new();
        first.put_bytes(0, PREFIX);
        Inflation {
            inflater,
            compressed,
            first,
            further: VecDeque::new(),
            length: 0,
        }
    }

    /// Inflates a slice more; true once the message is whole, whose pieces are then passed on.
    fn inflate(&mut self) -> Result<bool, Status> {
        let BodyStage::Inflating(one) = &mut self.stage else {
            return Ok(true);
        };
        let mut slice = [0; SLICE];
        let n = one.inflater.read(&mut slice).map_err(|error| {
            Status::invalid_argument(format!("a message is not compressed as it says: {error}"))
        })?;
        if n > 0 {
            one.length += n as u64;
            self.holding.take(n as u64, PREFIX as u64 + one.length)?;
            if one.length > self.bounds.message_bytes_max {
                return Err(self.too_long());
            }
            if one.further.is_empty() && one.first.len() + n <= SLICE {
                one.first.extend_from_slice(&slice[..n]);
            } else {
                one.further.push_back(Bytes::copy_from_slice(&slice[..n]));
            }
            return Ok(false);
        }
        let mut first = std::mem::take(&mut one.first);
        self.inflated = std::mem::take(&mut one.further);
        let (length, compressed) = (one.length, one.compressed);
        let claimed = u32::try_from(length).map_err(|_| self.too_long())?;
        first[1..PREFIX].copy_from_slice(&claimed.to_be_bytes());
        self.inflated.push_front(first.freeze());
        self.holding.give_back(compressed);
        self.inflated_bytes = length;
        self.stage = START;
        Ok(true)
    }

    /// Fails once a body has taken too long to come; it may take any time where it has many messages.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.bounds.messages == Messages::Many {
            return Poll::Pending;
        }
        let max = self.bounds.time_max;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(max)));
        ready!(deadline.as_mut().poll(context));
        let seconds = max.as_secs();
        Poll::Ready(Status::deadline_exceeded(format!(
            "the request did not come whole within {seconds} seconds"
        )))
    }
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.bounds.messages == Messages::Many {
            // A reader that asks for more has taken the bytes that were passed on.
            let passed = std::mem::take(&mut self.passed);
            self.holding.give_back(passed);
        }
        loop {
            if let Some(piece) = self.inflated.pop_front() {
                if self.inflated.is_empty() {
                    self.passed += std::mem::take(&mut self.inflated_bytes);
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if matches!(self.stage, BodyStage::Inflating(_)) {
                match self.inflate() {
                    Ok(true) => continue,
                    Ok(false) => {
                        // The others first.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(status) => return Poll::Ready(Some(Err(status))),
                }
            }
            let bytes = if self.behind.is_empty() {
                let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
                    return self.poll_deadline(context).map(|status| Some(Err(status)));
                };
                match frame {
                    // It ends because its caller has reset it: the task ends, and nothing is done.
                    None if self.bounds.messages == Messages::One
                        && !self.inner.is_end_stream() =>
                    {
                        return Poll::Pending;
                    }
                    None => return Poll::Ready(None),
                    Some(Err(error)) => {
                        let status = Status::from_error(error.into());
                        return Poll::Ready(Some(Err(status)));
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) => bytes,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                }
            } else {
                std::mem::take(&mut self.behind)
            };
            match self.pass(bytes) {
                Ok(passed) if passed.is_empty() => {}
                Ok(passed) => return Poll::Ready(Some(Ok(Frame::data(passed)))),
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
