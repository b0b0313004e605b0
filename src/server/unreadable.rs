//! Messages that are none of their method's: bytes that protobuf does not read.
//!
//! Invariant: the refusal names the message as the fault, and the refusal is counted in its flow. The
//! services see no such message, and the generated code calls it an error of the server.

use axum::http;
use tonic::body::Body;
use tonic::{Code, Status};

use super::access::Method;
use super::context::ServerContext;
use super::refusals::Refusals;
use super::wire::Refusal;

/// The first words of the generated code's errors for a message that it could not read, that was torn or of an
/// encoding that the call does not name, or that there was none.
const UNREAD: [&str; 5] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message",
    "Error decompressing",
];

/// The refusal that a status of the generated code stands for, if it is of an unreadable message.
pub(super) fn refusal(status: &Status) -> Option<Refusal> {
    let mut unread = UNREAD.iter();
    let is_unread = unread.any(|start| status.message().starts_with(start));
    (is_unread && status.code() == Code::Internal).then(|| {
        let what = status.message().trim_end_matches('.');
        Refusal::invalid("", format!("the message is none of this method: {what}"))
    })
}

/// The answer to a call, where it is of an unreadable message with the code for that.
pub(super) fn refused(
    context: &ServerContext,
    method: Method,
    answer: http::Response<Body>,
) -> http::Response<Body> {
    let Some(refusal) = answer.extensions().get().and_then(refusal) else {
        return answer;
    };
    if let Some(refusals) = flow(context, method) {
        refusals.add(&refusal);
    }
    Status::from(refusal).into_http()
}

/// The flow whose refusals are counted, of a method.
fn flow(context: &ServerContext, method: Method) -> Option<&Refusals> {
    if method.is_prediction() {
        return Some(&context.refused_predictions);
    }
    let (service, _) = method.names();
    (service == "perennial.v1.Learning").then_some(&context.refused_feedback)
}
