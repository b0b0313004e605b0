//! The guard: admission of a call by its credential and the budgets, before anything of a body is read.
//!
//! Invariant: a request that reaches a service carries its [`super::access::Caller`].

use std::convert::Infallible;
use std::future::{self, Ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{self, HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::access::{Caller, Method, Needs, Peer, needs_of_path};
use super::answers::AnswerBody;
use super::bodies::{BodyBounds, RequestBody};
use super::budget::Holding;
use super::context::{ServerContext, drained};
use super::deadline;
use super::services::{ServiceAnswer, Services};
use super::unreadable;
use super::wire::Refusal;

/// The services over gRPC behind the question, for the calls of one connection.
#[derive(Clone)]
pub(super) struct GuardedServices(Arc<GuardContext>);

/// The context of the guard of one connection: the services behind it, and the peer.
struct GuardContext {
    context: Arc<ServerContext>,
    services: Services,
    peer: Peer,
}

/// The response to a call, whose body is counted until it is written.
type GuardedResponse = Result<http::Response<AnswerBody>, Infallible>;

impl hyper::service::Service<http::Request<Incoming>> for GuardedServices {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Either<ResponseFuture, Ready<GuardedResponse>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let (guard, method) = (&self.0, Method::find(request.uri().path()));
        let (method, caller, holding) = match guard.admit(method, request.headers()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                if let Some(method) = method {
                    guard.context.calls.add(method, refusal.code);
                }
                return Either::Right(future::ready(Ok(AnswerBody::refusal(refusal.into()))));
            }
        };
        let timeout = deadline::timeout_of(request.headers());
        let mut request = guard.counted(method, request, holding.clone());
        if method.takes_a_stream() {
            // Its replies count as well, while they wait.
            request.extensions_mut().insert(holding.clone());
        }
        let ends = method
            .is_reflection()
            .then(|| ended(&guard.context, &caller));
        let answer = guard.services.call(method, caller, request);
        let inner = match timeout {
            None => answer,
            Some(timeout) => in_time(timeout, answer, guard.clone(), method),
        };
        let open = Some(OpenCall {
            method,
            guard: guard.clone(),
            holding,
            ends,
        });
        Either::Left(ResponseFuture { inner, open })
    }
}

/// Ends a stream that knows nothing of credentials and drains.
fn ended(context: &Arc<ServerContext>, caller: &Caller) -> BoxFuture<'static, Status> {
    let (context, caller) = (context.clone(), caller.clone());
    let ended = async move {
        tokio::select! {
            () = drained(context.draining.clone()) => Status::unavailable("the server is stopping"),
            () = context.access().ended(&caller) => {
                Status::unauthenticated("the credential of this stream has ended")
            }
        }
    };
    Box::pin(ended)
}

/// The answer of a call whose caller waits so long.
fn in_time(
    timeout: Duration,
    answer: ServiceAnswer,
    guard: Arc<GuardContext>,
    method: Method,
) -> ServiceAnswer {
    let deadline = Instant::now() + timeout;
    Box::pin(async move {
        match deadline::within(deadline, answer).await {
            Ok(answer) => answer,
            Err(refusal) => {
                if method.is_prediction() {
                    guard.context.refused_predictions.add(&refusal);
                }
                Ok(Status::from(refusal).into_http())
            }
        }
    })
}

/// A call that is being answered; dropped before its end, its caller took it back.
pub(super) struct ResponseFuture {
    inner: ServiceAnswer,
    /// Gone once it is answered.
    open: Option<OpenCall>,
}

struct OpenCall {
    method: Method,
    guard: Arc<GuardContext>,
    holding: Arc<Holding>,
    /// The future that ends the answer stream early: an expired credential or a drain.
    ends: Option<BoxFuture<'static, Status>>,
}

impl Future for ResponseFuture {
    type Output = GuardedResponse;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<GuardedResponse> {
        let Ok(answer) = ready!(self.inner.as_mut().poll(context));
        let Some(open) = self.open.take() else {
            return Poll::Ready(Ok(answer.map(|_| AnswerBody::default())));
        };
        let context = &open.guard.context;
        let answer = unreadable::refused(context, open.method, answer);
        // An answer without an error has its status behind its message.
        let code = answer.headers().get(Status::GRPC_STATUS);
        let code = code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        context.calls.add(open.method, code);
        let answer = if open.method.gives_a_stream() && code == Code::Ok {
            AnswerBody::stream(answer, open.holding, open.ends)
        } else {
            AnswerBody::whole(answer, open.holding)
        };
        Poll::Ready(Ok(answer))
    }
}

impl Drop for ResponseFuture {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.guard.context.calls.add(open.method, Code::Cancelled);
            open.guard.peer.conduct.take_back();
        }
    }
}

impl GuardedServices {
    pub(super) fn new(
        context: Arc<ServerContext>,
        services: Services,
        peer: Peer,
    ) -> GuardedServices {
        GuardedServices(Arc::new(GuardContext {
            context,
            services,
            peer,
        }))
    }
}

impl GuardContext {
    /// The caller of a method and a place for its call, if it may call it and there is room.
    fn admit(
        &self,
        method: Option<Method>,
        headers: &HeaderMap,
    ) -> Result<(Method, Caller, Arc<Holding>), Refusal> {
        let (context, peer) = (&self.context, &self.peer);
        let caller = context.admit(method.map(Method::needs), headers, peer)?;
        let method = method.expect("a method without needs is not admitted");
        context.check_queue(method)?;
        let holding = context.hold(method, &caller, peer)?;
        Ok((method, caller, holding))
    }

    /// The request with a body whose bytes are counted.
    fn counted(
        &self,
        method: Method,
        request: http::Request<Incoming>,
        holding: Arc<Holding>,
    ) -> http::Request<RequestBody<Incoming>> {
        let bounds = if method.needs() == Needs::Nothing {
            BodyBounds::of_strangers()
        } else {
            let bytes_max = self.context.config.message_bytes_max;
            BodyBounds::new(method.takes_a_stream(), bytes_max)
        };
        let (mut head, body) = request.into_parts();
        let body = RequestBody::new(body, &mut head.headers, holding, bounds);
        http::Request::from_parts(head, body)
    }
}

/// Asks it of every request over HTTP, and refuses requests that a page of another site has a browser send.
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

/// The answer over HTTP to a request that is refused.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let code = match refusal.code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::NOT_FOUND,
    };
    let body = format!("{}\n", refusal.message);
    match code {
        StatusCode::UNAUTHORIZED => (code, [(WWW_AUTHENTICATE, "Bearer")], body).into_response(),
        // In seconds, and at least one.
        StatusCode::TOO_MANY_REQUESTS => (code, [(RETRY_AFTER, "1")], body).into_response(),
        _ => (code, body).into_response(),
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
