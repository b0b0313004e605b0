//! The file of credentials: who may call, by a token or by a client certificate.
//!
//! Invariant: no token stands in the file, only its digest. A token is 256 random bits, so a fast
//! digest hides it as well as a slow one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

use super::quota::{Quota, QuotaUsage};
use super::scope::Scope;
use crate::model::keys::with_nearest;
use crate::server::budget::CallerUsage;

/// The beginning of every token, so that one that lies about is recognised.
const TOKEN_PREFIX: &str = "perennial_";
/// The random bits of a token, in bytes.
const TOKEN_BYTES: usize = 32;
/// Credentials of one file.
const CREDENTIALS_MAX: usize = 10_000;
/// Characters of a name.
const NAME_MAX: usize = 64;
/// Bytes of a feedback source.
const SOURCE_BYTES_MAX: usize = 256;

/// A fault of a file of credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(String);

/// A caller with its scopes.
#[derive(Debug)]
pub(super) struct Credential {
    /// The actor in journals, logs and certificates of retraction.
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// The models that it may use; `None` for all of them.
    pub models: Option<BTreeSet<String>>,
    /// The only source of its feedback.
    pub source: Option<String>,
    /// The time at which it ends.
    pub expires: Option<SystemTime>,
    proof: Proof,
    pub quota: Quota,
    /// The part of the budget that its calls may hold.
    pub share: Arc<CallerUsage>,
    /// The quota used so far.
    pub spent: Arc<QuotaUsage>,
}

/// The proof by which a caller shows that a credential is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    /// A token with this digest.
    Token(blake3::Hash),
    /// A certificate with this name: a DNS name or a URI.
    Certificate(String),
}

impl Credential {
    /// True if another one gives the same rights to the same caller.
    fn is_same(&self, other: &Credential) -> bool {
        fn rights(of: &Credential) -> impl PartialEq {
            let Credential {
                name,
                scopes,
                models,
                source,
                expires,
                proof,
                quota,
                share: _,
                spent: _,
            } = of;
            (name, scopes, models, source, expires, proof, quota)
        }
        rights(self) == rights(other)
    }
}

/// The credentials of a file.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    by_token: HashMap<blake3::Hash, Arc<Credential>>,
    by_certificate: BTreeMap<String, Arc<Credential>>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    #[serde(default)]
    credential: Vec<CredentialEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialEntry {
    name: String,
    token: Option<String>,
    certificate: Option<String>,
    expires: Option<String>,
    scopes: Vec<Scope>,
    models: Option<Vec<String>>,
    source: Option<String>,
    predictions_per_day: Option<u64>,
    events_per_day: Option<u64>,
    bytes_per_day: Option<u64>,
}

impl Credentials {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CredentialsError`]: it is not TOML, a key is not known, or a value is not one that is allowed.
    pub(super) fn read(text: &str) -> Result<Credentials, CredentialsError> {
        let file: CredentialsFile =
            toml::from_str(text).map_err(|error| CredentialsError(with_nearest(&error)))?;
        if file.credential.len() > CREDENTIALS_MAX {
            let got = file.credential.len();
            return refused(format!(
                "{got} credentials, expected at most {CREDENTIALS_MAX}"
            ));
        }
        let mut credentials = Credentials::default();
        let mut names = BTreeSet::new();
        for entry in file.credential {
            let credential = Arc::new(entry.checked()?);
            let name = &credential.name;
            if !names.insert(name.clone()) {
                return refused(format!("credential {name:?}: the name stands twice"));
            }
            let other = match &credential.proof {
                Proof::Token(digest) => credentials.by_token.insert(*digest, credential.clone()),
                Proof::Certificate(of) => {
                    let of = of.clone();
                    credentials.by_certificate.insert(of, credential.clone())
                }
            };
            if let Some(other) = other {
                let other = &other.name;
                let what = format!("credential {name:?}: {other:?} has the same proof");
                return refused(what);
            }
        }
        Ok(credentials)
    }

    /// The credential of a token. It is found by its digest, which has no information about the others, and
    /// compared in constant time.
    pub(super) fn of_token(&self, token: &str) -> Option<&Arc<Credential>> {
        let digest = blake3::hash(token.as_bytes());
        let found = self.by_token.get(&digest)?;
        (found.proof == Proof::Token(digest)).then_some(found)
    }

    /// The credential of a certificate with these names: the first name that has one.
    pub(super) fn of_certificate(&self, names: &[String]) -> Option<&Arc<Credential>> {
        names.iter().find_map(|name| self.by_certificate.get(name))
    }

    /// True if the credential stands here as it was.
    pub(super) fn holds(&self, credential: &Credential) -> bool {
        let found = match &credential.proof {
            Proof::Token(digest) => self.by_token.get(digest),
            Proof::Certificate(name) => self.by_certificate.get(name),
        };
        found.is_some_and(|found| found.is_same(credential))
    }

    /// Counts on, under the credentials of the same names, calls under way and spent quotas.
    pub(super) fn take_over_shares(&mut self, old: &Credentials) {
        let old = old.all().map(|one| (&one.name, one));
        let old: BTreeMap<&String, &Arc<Credential>> = old.collect();
        let own = (self.by_token.values_mut()).chain(self.by_certificate.values_mut());
        for credential in own {
            let credential = Arc::get_mut(credential).expect("it is not in force yet");
            if let Some(old) = old.get(&credential.name) {
                credential.share = old.share.clone();
                credential.spent = old.spent.clone();
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Credential>> {
        (self.by_token.values()).chain(self.by_certificate.values())
    }
}

impl CredentialEntry {
    fn checked(self) -> Result<Credential, CredentialsError> {
        check_name(&self.name)?;
        let proof = self.proof()?;
        if self.scopes.is_empty() {
            let scopes = Scope::ALL.map(Scope::name).join(", ");
            return Err(self.fault(format!("scopes: none, expected some of {scopes}")));
        }
        if self.models.as_ref().is_some_and(Vec::is_empty) {
            let what = "models: none; name some, or leave the key out for all of them";
            return Err(self.fault(what));
        }
        let source_bytes = self.source.as_ref().map_or(1, String::len);
        if !(1..=SOURCE_BYTES_MAX).contains(&source_bytes) {
            let what = format!("source: {source_bytes} bytes, expected 1 to {SOURCE_BYTES_MAX}");
            return Err(self.fault(what));
        }
        let quota = self.quota()?;
        Ok(Credential {
            expires: self.end(&proof)?,
            proof,
            name: self.name,
            scopes: self.scopes.into_iter().collect(),
            models: self.models.map(|models| models.into_iter().collect()),
            source: self.source,
            quota,
            share: Arc::default(),
            spent: Arc::default(),
        })
    }

    fn quota(&self) -> Result<Quota, CredentialsError> {
        let quota = Quota {
            predictions_per_day: self.predictions_per_day,
            events_per_day: self.events_per_day,
            bytes_per_day: self.bytes_per_day,
        };
        match quota.bounds().iter().find(|(_, bound)| *bound == Some(0)) {
            Some((name, _)) => Err(self.fault(format!("{name}: 0, expected at least 1"))),
            None => Ok(quota),
        }
    }

    fn proof(&self) -> Result<Proof, CredentialsError> {
        match (&self.token, &self.certificate) {
            (Some(digest), None) => match blake3::Hash::from_hex(digest) {
                Ok(digest) => Ok(Proof::Token(digest)),
                Err(_) => Err(self.fault(
                    "token: expected the BLAKE3 digest of the token, 64 hexadecimal digits, as \
                     `perennial token` writes it",
                )),
            },
            (None, Some(name)) if !name.is_empty() => Ok(Proof::Certificate(name.clone())),
            _ => Err(self.fault("expected either token or certificate")),
        }
    }

    fn end(&self, proof: &Proof) -> Result<Option<SystemTime>, CredentialsError> {
        let Some(text) = &self.expires else {
            return match proof {
                Proof::Token(_) => Err(self
                    .fault("expires: missing; a token has an end, as in \"2027-01-31T00:00:00Z\"")),
                Proof::Certificate(_) => Ok(None),
            };
        };
        let time = text.parse().ok().and_then(|time: Timestamp| {
            let micros = u64::try_from(time.as_microsecond()).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))
        });
        let what = || format!("expires: {text:?}, expected a time as in \"2027-01-31T00:00:00Z\"");
        time.map(Some).ok_or_else(|| self.fault(what()))
    }

    fn fault(&self, what: impl AsRef<str>) -> CredentialsError {
        CredentialsError(format!("credential {:?}: {}", self.name, what.as_ref()))
    }
}

fn refused<T>(what: String) -> Result<T, CredentialsError> {
    Err(CredentialsError(what))
}

/// A name stands in journals, logs and certificates as it is, and never looks like an address.
fn check_name(name: &str) -> Result<(), CredentialsError> {
    let mut characters = name.chars();
    let is_good = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
        && name.len() <= NAME_MAX;
    if is_good {
        return Ok(());
    }
    refused(format!(
        "name: {name:.80?}, expected a letter and then letters, digits, dots, underscores, hyphens \
         and at signs, {NAME_MAX} characters at most"
    ))
}

/// A token that was made: it is shown once, and only its digest is kept.
#[derive(Debug)]
pub struct NewToken {
    /// The token itself.
    pub token: String,
    /// Its entry in a file of credentials.
    pub entry: String,
}

/// The rights of a token to be made.
#[derive(Clone, Debug)]
pub struct TokenRights<'a> {
    /// The actor in journals and logs.
    pub name: &'a str,
    /// The scopes, at least one.
    pub scopes: &'a [Scope],
    /// The models that it may use; empty for all of them.
    pub models: &'a [String],
    /// The only source of its feedback.
    pub source: Option<&'a str>,
    /// The time at which it ends.
    pub expires: Timestamp,
}

/// Makes a token of 256 random bits.
///
/// # Errors
/// [`CredentialsError`]: the rights are none that a file of credentials could state.
pub fn new_token(
    random: [u8; TOKEN_BYTES],
    rights: &TokenRights<'_>,
) -> Result<NewToken, CredentialsError> {
    let mut token = TOKEN_PREFIX.to_owned();
    for byte in random {
        // A string takes whatever is written.
        let _ = write!(token, "{byte:02x}");
    }
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    let scopes = rights.scopes.iter().map(|scope| quoted(scope.name()));
    let mut entry = format!(
        "[[credential]]\nname = {}\ntoken = \"{}\"\nexpires = \"{}\"\nscopes = {}\n",
        quoted(rights.name),
        blake3::hash(token.as_bytes()),
        rights.expires,
        list(scopes.collect()),
    );
    if !rights.models.is_empty() {
        let models = rights.models.iter().map(|model| quoted(model));
        entry += &format!("models = {}\n", list(models.collect()));
    }
    if let Some(source) = rights.source {
        entry += &format!("source = {}\n", quoted(source));
    }
    Credentials::read(&entry)?;
    Ok(NewToken { token, entry })
}

/// Checks the text of a file of credentials.
///
/// # Errors
/// [`CredentialsError`]: the first error in it.
pub fn check_credentials(text: &str) -> Result<(), CredentialsError> {
    Credentials::read(text).map(|_| ())
}
