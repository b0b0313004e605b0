//! The door: who calls, and whether there is room, asked before anything of a body is read.
//!
//! Invariant: a request that reaches a service carries its [`super::access::Caller`].

use std::convert::Infallible;
use std::future::{self, Ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{self, HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::access::{Method, Peer, needs_of_path};
use super::answers::{IsLarge, counted};
use super::bodies::{Messages, RequestBody};
use super::budget::Holding;
use super::context::ServerContext;
use super::unreadable;
use super::wire::Refusal;

/// Asks it of every request over gRPC.
#[derive(Clone)]
pub(super) struct AccessLayer(pub Arc<ServerContext>);

impl<S> Layer<S> for AccessLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            context: self.0.clone(),
            inner,
        }
    }
}

/// A service behind the question.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    context: Arc<ServerContext>,
    inner: S,
}

type Answered = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Answering<S::Future>, Ready<Answered>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // A request without a peer comes from nobody.
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.unwrap_or_else(Peer::stranger);
        let context = &self.context;
        let method = Method::find(request.uri().path());
        let admitted = context.admit(method.map(Method::needs), request.headers(), &peer);
        let admitted = admitted.and_then(|caller| Ok((caller, context.requests.hold()?)));
        match admitted {
            Ok((caller, holding)) => {
                request.extensions_mut().insert(caller);
                let inner = self.inner.call(self.counted(request, holding.clone()));
                let context = self.context.clone();
                let open = method.map(|method| Open {
                    method,
                    context,
                    peer,
                    holding,
                });
                Either::Left(Answering { inner, open })
            }
            Err(refusal) => {
                if let Some(method) = method {
                    context.calls.add(method, refusal.code);
                }
                Either::Right(future::ready(Ok(Status::from(refusal).into_http())))
            }
        }
    }
}

/// A call that is being answered; dropped before its end, its caller took it back.
pub(super) struct Answering<F> {
    inner: F,
    /// Gone once it is answered.
    open: Option<Open>,
}

struct Open {
    method: Method,
    context: Arc<ServerContext>,
    peer: Peer,
    holding: Arc<Holding>,
}

impl<F: Future<Output = Answered> + Unpin> Future for Answering<F> {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let Ok(answer) = ready!(Pin::new(&mut self.inner).poll(context));
        let Some(open) = self.open.take() else {
            return Poll::Ready(Ok(answer));
        };
        let answer = unreadable::refused(&open.context, open.method, answer);
        // An answer without an error has its status behind its message.
        let code = answer.headers().get(Status::GRPC_STATUS);
        let code = code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        open.context.calls.add(open.method, code);
        let is_large =
            open.method.has_large_answers() || answer.extensions().get::<IsLarge>().is_some();
        if code == Code::Ok && is_large {
            return Poll::Ready(Ok(counted(answer, open.holding, &open.peer.conduct)));
        }
        Poll::Ready(Ok(answer))
    }
}

impl<F> Drop for Answering<F> {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.context.calls.add(open.method, Code::Cancelled);
            open.peer.conduct.take_back();
        }
    }
}

impl<S> Guarded<S> {
    /// The request with a body whose bytes are counted.
    fn counted(&self, request: http::Request<Body>, holding: Arc<Holding>) -> http::Request<Body> {
        let messages = if has_many(request.uri().path()) {
            Messages::Many
        } else {
            Messages::One
        };
        let bytes_max = self.context.config.message_bytes_max;
        let (mut head, body) = request.into_parts();
        let body = RequestBody::new(body, &mut head.headers, holding, messages, bytes_max);
        http::Request::from_parts(head, Body::new(body))
    }
}

/// True if a call takes a stream of messages.
fn has_many(path: &str) -> bool {
    path.ends_with("/StreamFeedback") || path.ends_with("/ServerReflectionInfo")
}

/// Asks it of every request over HTTP, and refuses what a page of another site has a browser send.
pub(super) async fn guard(
    State(context): State<Arc<ServerContext>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(what) = check_origin(request.headers(), !context.access().asks()) {
        return (StatusCode::FORBIDDEN, format!("{what}\n")).into_response();
    }
    let needs = needs_of_path(request.uri().path());
    match context.admit(needs, request.headers(), &peer) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let code = match refusal.code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::NOT_FOUND,
    };
    let body = format!("{}\n", refusal.message);
    if code == StatusCode::UNAUTHORIZED {
        (code, [(WWW_AUTHENTICATE, "Bearer")], body).into_response()
    } else {
        (code, body).into_response()
    }
}

/// A page of another site names itself as the origin. One that had its own name lead to this machine
/// names itself as the host, which counts where being of this machine is all that is asked.
fn check_origin(headers: &HeaderMap, is_open: bool) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(HOST);
    if let Some(origin) = text(ORIGIN) {
        let of_origin = origin.split_once("://").map(|(_, authority)| authority);
        if of_origin.is_none() || of_origin != host {
            return Err("origin: a page of another site sent this");
        }
    }
    match host {
        Some(host) if is_open && !is_of_this_machine(host) => Err(
            "host: not a name of this machine, which is all that is served without credentials; ask \
             127.0.0.1 or localhost",
        ),
        _ => Ok(()),
    }
}

fn is_of_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = bare.unwrap_or(name).parse::<std::net::IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_what_a_page_of_another_site_sends_is_refused() {
        let check = |host: Option<&str>, origin: Option<&str>, open: bool, closed: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(HOST, host), (ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().expect("a header"));
                }
            }
            let got = [true, false].map(|is_open| check_origin(&headers, is_open).is_ok());
            assert_eq!(got, [open, closed], "{host:?} {origin:?}");
        };
        check(None, None, true, true);
        check(Some("127.0.0.1:8000"), None, true, true);
        check(Some("localhost:8000"), None, true, true);
        check(Some("LOCALHOST"), None, true, true);
        check(Some("[::1]:8000"), None, true, true);
        check(Some("[::ffff:127.0.0.1]:8000"), None, true, true);
        check(Some("example.org"), None, false, true);
        check(Some("localhost.example.org"), None, false, true);
        check(Some("127.0.0.1.example.org:8000"), None, false, true);
        check(Some("10.0.0.1:8000"), None, false, true);
        check(Some(""), None, false, true);
        check(
            Some("localhost:8000"),
            Some("http://localhost:8000"),
            true,
            true,
        );
        check(
            Some("localhost:8000"),
            Some("http://example.org"),
            false,
            false,
        );
        check(Some("localhost:8000"), Some("null"), false, false);
        check(
            Some("localhost:8000"),
            Some("http://localhost:3000"),
            false,
            false,
        );
        check(None, Some("http://localhost:8000"), false, false);
    }
}
