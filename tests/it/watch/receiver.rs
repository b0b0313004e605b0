//! The receiver of a webhook: a listener that keeps the requests, and gives the set answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Requests, Sender, channel};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::server::WAIT_MAX;

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A status, with a header or an empty line.
    Status(&'static str),
    /// Another place.
    Redirect(String),
    /// No answer, for as long as the sender waits.
    Hang,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Posted {
    /// The body, after its signature was checked as a receiver does.
    pub(super) fn event(&self) -> Value {
        let [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| &self.headers[name]);
        let key = STANDARD.decode(&SECRET["whsec_".len()..]).expect("Base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!("{id}.{timestamp}.{}", self.body);
        let tag = signature.strip_prefix("v1,").expect("version 1");
        let tag = STANDARD.decode(tag).expect("Base64");
        hmac::verify(&key, signed.as_bytes(), &tag).expect("the sender knows the secret");
        assert!(timestamp.parse::<u64>().expect("seconds") > 1_700_000_000);
        assert_eq!(self.headers["content-type"], "application/json");
        let event: Value = serde_json::from_str(&self.body).expect("an object");
        assert_eq!(event["id"], **id);
        event
    }

    pub(super) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

/// A receiver that runs.
pub(super) struct Receiver {
    pub address: SocketAddr,
    requests: Requests<Posted>,
}

impl Receiver {
    /// Answers in this order; the last answer is given to all that come after.
    pub(super) fn start(answers: Vec<Answer>) -> Receiver {
        Receiver::start_with(answers, None)
    }

    /// Answers in this order, over TLS where there is a configuration.
    pub(super) fn start_with(answers: Vec<Answer>, tls: Option<Arc<ServerConfig>>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = channel();
        thread::spawn(move || {
            let mut n_answered = 0;
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let answer = answers[n_answered.min(answers.len() - 1)].clone();
                let taken = match &tls {
                    None => serve(stream, &answer, &sender),
                    Some(config) => {
                        let session = ServerConnection::new(config.clone()).expect("a session");
                        serve(StreamOwned::new(session, stream), &answer, &sender)
                    }
                };
                n_answered += usize::from(taken.is_some());
            }
        });
        Receiver { address, requests }
    }

    /// The next request.
    pub(super) fn next(&self) -> Posted {
        let next = self.requests.recv_timeout(WAIT_MAX);
        next.expect("a request in time")
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?team=7", self.address)
    }
}

/// Reads a request and answers it; none where no request came.
fn serve(
    stream: impl Read + Write + Send + 'static,
    answer: &Answer,
    sender: &Sender<Posted>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let posted = read(&mut stream)?;
    sender.send(posted).ok()?;
    let text = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"),
        Answer::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Answer::Hang => {
            // It ends with the connection, whoever closes that.
            thread::spawn(move || stream.read_exact(&mut [0]));
            return Some(());
        }
    };
    let stream = stream.get_mut();
    stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush())
        .ok()
}

fn read(stream: &mut impl BufRead) -> Option<Posted> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let target = lines.first()?.strip_prefix("POST ")?;
    let target = target.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Posted {
        target,
        headers,
        body,
    })
}

/// A listener that nobody may connect to.
pub(super) fn untouched() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("it can be");
    listener
}

/// True if nobody has connected to it.
pub(super) fn is_untouched(listener: &TcpListener) -> bool {
    let accepted: std::io::Result<(TcpStream, SocketAddr)> = listener.accept();
    accepted.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
