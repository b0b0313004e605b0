//! A client of HTTP/2 by hand, which cuts its messages into frames as it likes.
//!
//! Invariant: it sends no more than flow control allows; a GOAWAY or RST_STREAM of the server
//! is a panic with its reason, and no read is without end.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use perennial::proto::perennial::v1::FeedbackReply;
use prost::Message;

const STREAM_FEEDBACK: &str = "/perennial.v1.Learning/StreamFeedback";
pub(super) const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The error code by which a client gives a call up.
const CANCEL: u32 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window that both sides begin with.
const WINDOW: i64 = 65_535;
/// The window that this side grants to the server.
const OURS: u32 = i32::MAX as u32;
/// Nothing takes longer; a slower call has stopped.
const WAIT_MAX: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Whether a call that is given up was sent to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Sent,
    Open,
}

/// One call.
struct Call {
    window: i64,
    /// The frames still to be sent; after all of them the end of the stream.
    frames: VecDeque<Vec<u8>>,
    is_sent: bool,
    received: Vec<u8>,
    is_ended: bool,
}

/// A connection with calls of one method on it, the first of which is stream 1.
pub(super) struct FramesClient {
    socket: TcpStream,
    window: i64,
    initial_window: i64,
    calls: Vec<Call>,
    is_ponged: bool,
    /// True after a GOAWAY that finds no fault.
    is_asked_to_end: bool,
}

/// Each message as one frame of at most `bytes_max`, or as many.
pub(super) fn frames<M: Message>(events: &[M], bytes_max: usize) -> VecDeque<Vec<u8>> {
    let message = |event: &M| {
        let body = event.encode_to_vec();
        let length = (body.len() as u32).to_be_bytes();
        [&[0], &length[..], &body].concat()
    };
    let messages = events.iter().map(message);
    let cut = |message: Vec<u8>| message.chunks(bytes_max).map(<[u8]>::to_vec).collect();
    messages.flat_map::<Vec<_>, _>(cut).collect()
}

impl FramesClient {
    /// Connects and opens a call for each list of frames; none of them is sent yet.
    pub(super) fn open(server: SocketAddr, calls: Vec<VecDeque<Vec<u8>>>) -> FramesClient {
        FramesClient::open_at(server, STREAM_FEEDBACK, calls)
    }

    /// Connects and opens a call of the method at this path for each list of frames.
    pub(super) fn open_at(
        server: SocketAddr,
        path: &str,
        calls: Vec<VecDeque<Vec<u8>>>,
    ) -> FramesClient {
        FramesClient::open_with(server, path, OURS, calls)
    }

    /// Connects and opens calls as a client that takes no byte of an answer.
    pub(super) fn open_unread(
        server: SocketAddr,
        path: &str,
        calls: Vec<VecDeque<Vec<u8>>>,
    ) -> FramesClient {
        FramesClient::open_with(server, path, 0, calls)
    }

    fn open_with(
        server: SocketAddr,
        path: &str,
        granted: u32,
        calls: Vec<VecDeque<Vec<u8>>>,
    ) -> FramesClient {
        let socket = TcpStream::connect(server).expect("it listens");
        socket.set_read_timeout(Some(WAIT_MAX)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let mut client = FramesClient {
            socket,
            window: WINDOW,
            initial_window: WINDOW,
            calls: Vec::new(),
            is_ponged: false,
            is_asked_to_end: false,
        };
        client.socket.write_all(PREFACE).expect("it reads");
        let initial_window = [&[0, 4], &granted.to_be_bytes()[..]].concat();
        client.send(SETTINGS, 0, 0, &initial_window);
        let more = OURS - WINDOW as u32;
        client.send(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        let headers = headers(path, &server.to_string());
        for frames in calls {
            client.calls.push(Call {
                window: client.initial_window,
                frames,
                is_sent: false,
                received: Vec::new(),
                is_ended: false,
            });
            client.send(
                HEADERS,
                END_HEADERS,
                stream(client.calls.len() - 1),
                &headers,
            );
        }
        // The windows that the server grants come before its answer.
        client.ping();
        client
    }

    /// Sends as much as the windows allow, until the server has read all of it; the bytes that are left.
    pub(super) fn send_what_fits(&mut self) -> usize {
        for index in 0..self.calls.len() {
            while let Some(frame) = self.next_frame(index) {
                self.send(DATA, 0, stream(index), &frame);
            }
            let call = &mut self.calls[index];
            if call.frames.is_empty() && !call.is_sent {
                call.is_sent = true;
                self.send(DATA, END_STREAM, stream(index), &[]);
            }
        }
        self.ping();
        let left = self.calls.iter().flat_map(|call| &call.frames);
        left.map(Vec::len).sum()
    }

    /// Sends the frames of every call, ends each or leaves it open, and resets all of them; the server has read
    /// the frames before, and the resets now.
    pub(super) fn give_up(&mut self, end: End) {
        for index in 0..self.calls.len() {
            while let Some(frame) = self.next_frame(index) {
                self.send(DATA, 0, stream(index), &frame);
            }
            assert!(self.calls[index].frames.is_empty(), "the windows are large");
            if end == End::Sent {
                self.send(DATA, END_STREAM, stream(index), &[]);
            }
        }
        self.ping();
        for index in 0..self.calls.len() {
            self.send(RST_STREAM, 0, stream(index), &CANCEL.to_be_bytes());
        }
        self.ping();
    }

    /// Sends the rest as the server reads, and gives its replies to each call.
    pub(super) fn finish(mut self) -> Vec<Vec<FeedbackReply>> {
        while self.calls.iter().any(|call| !call.is_ended) {
            if self.calls.iter().any(|call| !call.is_sent) {
                self.send_what_fits();
            } else {
                self.read();
            }
        }
        let calls = self.calls.iter();
        calls.map(|call| replies(&call.received)).collect()
    }

    /// Opens so many calls and takes each back at once, all in one piece.
    pub(super) fn take_back(&mut self, n: usize) -> io::Result<()> {
        let headers = headers(STREAM_FEEDBACK, "localhost");
        let mut all = Vec::new();
        for _ in 0..n {
            let stream = stream(self.calls.len());
            all.extend(frame(HEADERS, END_HEADERS, stream, &headers));
            all.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            self.calls.push(Call {
                window: 0,
                frames: VecDeque::new(),
                is_sent: true,
                received: Vec::new(),
                is_ended: true,
            });
        }
        self.socket.write_all(&all)
    }

    /// Reads until the server asks for the end of the connection.
    pub(super) fn wait_for_goaway(&mut self) {
        while !self.is_asked_to_end {
            self.read();
        }
    }

    /// True once the server closes the connection, whatever comes before.
    pub(super) fn closes(mut self) -> bool {
        self.socket.read_to_end(&mut Vec::new()).is_ok()
    }

    fn next_frame(&mut self, index: usize) -> Option<Vec<u8>> {
        let call = &mut self.calls[index];
        let bytes = call.frames.front()?.len() as i64;
        if bytes > call.window.min(self.window) {
            return None;
        }
        call.window -= bytes;
        self.window -= bytes;
        call.frames.pop_front()
    }

    /// Waits until the server has read everything that was sent before.
    pub(super) fn ping(&mut self) {
        self.is_ponged = false;
        self.send(PING, 0, 0, &[7; 8]);
        while !self.is_ponged {
            self.read();
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let frame = frame(kind, flags, stream, payload);
        self.socket.write_all(&frame).expect("it reads");
    }

    /// Takes in one frame.
    fn read(&mut self) {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).expect("a frame");
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | i64::from(*b));
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.socket.read_exact(&mut payload).expect("its payload");
        let (kind, flags, stream) = (head[3], head[4], number(&head[5..]) as usize);
        let call = stream.checked_sub(1).map(|odd| odd / 2);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        let granted = number(&setting[2..]);
                        let more = granted - self.initial_window;
                        self.initial_window = granted;
                        self.calls.iter_mut().for_each(|call| call.window += more);
                    }
                }
                self.send(SETTINGS, ACK, 0, &[]);
            }
            WINDOW_UPDATE => match call {
                None => self.window += number(&payload),
                Some(call) => self.calls[call].window += number(&payload),
            },
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload),
            PING => self.is_ponged = true,
            RST_STREAM => panic!("the server ends call {call:?} with {payload:?}"),
            GOAWAY if payload[4..8] == [0; 4] => self.is_asked_to_end = true,
            GOAWAY => panic!("GOAWAY: {}", String::from_utf8_lossy(&payload[8..])),
            DATA => {
                let call = &mut self.calls[call.expect("data is of a call")];
                call.received.extend(payload);
                call.is_ended |= flags & END_STREAM != 0;
            }
            HEADERS => {
                let call = &mut self.calls[call.expect("headers are of a call")];
                call.is_ended |= flags & END_STREAM != 0;
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head[..], payload].concat()
}

fn stream(index: usize) -> u32 {
    2 * index as u32 + 1
}

/// Headers without compression, none of which the other side is to remember.
fn headers(path: &str, authority: &str) -> Vec<u8> {
    let all = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let field = |(name, value): (&str, &str)| [vec![0], text(name), text(value)].concat();
    all.into_iter().flat_map(field).collect()
}

fn replies(mut received: &[u8]) -> Vec<FeedbackReply> {
    let mut all = Vec::new();
    while let Some((head, rest)) = received.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (body, rest) = rest.split_at(length as usize);
        all.push(FeedbackReply::decode(body).expect("a reply"));
        received = rest;
    }
    all
}
