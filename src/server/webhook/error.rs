//! The reasons why a configuration of the webhook cannot be used.
//!
//! Invariant: the key is named, and no secret is shown.

/// A key of the webhook's configuration has no value that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("webhook.{key}: {what}")]
pub struct WebhookError {
    /// The key.
    pub key: &'static str,
    /// The value and those that are allowed.
    pub what: String,
}

pub(super) fn refused(key: &'static str, what: impl Into<String>) -> WebhookError {
    let what = what.into();
    WebhookError { key, what }
}
