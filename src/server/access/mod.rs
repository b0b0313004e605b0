//! Access: credentials, the callers that have shown one, and the keys of TLS.
//!
//! Invariant: with credentials everything but health is refused to a caller that shows none; without
//! them only callers of this machine are served. The access in force is replaced whole or not at all.
//!
//! In reading order: `scope` (the needs of each method), `credentials` (the file), `quota`, `files` (all files of access), [`Access`] (the access in
//! force), `tls`.

mod credentials;
mod files;
mod quota;
mod scope;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use tokio::sync::watch;
use tonic::{Code, Request};

use self::credentials::{Credential, Credentials};
pub use self::credentials::{
    CredentialsError, NewToken, TokenRights, check_credentials, new_token,
};
pub use self::files::{AccessError, AccessFiles};
pub(super) use self::quota::MessageCost;
pub use self::scope::Scope;
pub(super) use self::scope::{Method, Needs, needs_of_path};
pub(super) use self::tls::{Protocol, names_of};
use self::tls::{ServerKeys, server_keys};
use super::budget::{CallerUsage, Shares};
use super::conduct::Conduct;
use super::connection_number::ConnectionNumber;
use super::wire::Refusal;

/// Refused logins of one address in a second; further ones are refused with a retry delay.
const REFUSED_PER_SECOND: u32 = 20;
/// Addresses whose refused logins are counted apart.
const ADDRESSES_MAX: usize = 1024;
/// Bytes of a header that may be a token.
const TOKEN_BYTES_MAX: usize = 256;
/// The actor of a caller on the socket of the file system.
const LOCAL: &str = "local";
/// The time between two looks at whether a credential has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The access in force: the callers, and the keys of TLS.
#[derive(Debug)]
pub struct Access {
    in_force: ArcSwap<InForce>,
    /// Counts the files that were put in force.
    changes: watch::Sender<u64>,
    /// True after a reload that failed.
    is_stale: watch::Sender<bool>,
    logins: Mutex<BTreeMap<IpAddr, (Instant, u32)>>,
}

#[derive(Debug, Default)]
struct InForce {
    /// `None` where callers of this machine may do everything, and others nothing.
    credentials: Option<Credentials>,
    keys: Option<ServerKeys>,
}

impl InForce {
    fn read(files: &AccessFiles) -> Result<InForce, AccessError> {
        let keys = server_keys(files)?;
        let credentials = match &files.credentials {
            Some(text) => Some(Credentials::read(text)?),
            None if files.client_ca.is_some() => {
                let what = "client_ca: nothing says what the holders of client certificates may do: name \
                            them in a file of credentials";
                return Err(AccessError::Tls(what.into()));
            }
            None => None,
        };
        Ok(InForce { credentials, keys })
    }
}

impl Default for Access {
    /// Without credentials: callers of this machine may do everything, and others nothing.
    fn default() -> Access {
        Access::in_force(InForce::default())
    }
}

impl Access {
    /// Access by the files.
    ///
    /// # Errors
    /// [`AccessError`]: a file is wrong, or misses its fellow.
    pub fn new(files: &AccessFiles) -> Result<Access, AccessError> {
        Ok(Access::in_force(InForce::read(files)?))
    }

    fn in_force(in_force: InForce) -> Access {
        Access {
            in_force: ArcSwap::from_pointee(in_force),
            changes: watch::Sender::new(0),
            is_stale: watch::Sender::new(false),
            logins: Mutex::default(),
        }
    }

    /// Puts files in force in place of others. Calls whose credential is gone or changed end; a
    /// connection keeps the keys that it began with.
    ///
    /// # Errors
    /// [`AccessError`]: the files in force stay.
    pub fn replace(&self, files: &AccessFiles) -> Result<(), AccessError> {
        let read = self.follows(files).and_then(|()| InForce::read(files));
        self.is_stale.send_replace(read.is_err());
        let mut read = read?;
        if let (Some(new), Some(old)) = (&mut read.credentials, &self.in_force.load().credentials) {
            new.take_over_shares(old);
        }
        self.in_force.store(Arc::new(read));
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Files that are gone would open a closed server.
    fn follows(&self, files: &AccessFiles) -> Result<(), AccessError> {
        let in_force = self.in_force.load();
        let lost = |what: &str| {
            Err(AccessError::Tls(format!(
                "{what}: there before, and gone now"
            )))
        };
        if in_force.credentials.is_some() && files.credentials.is_none() {
            return lost("credentials");
        }
        if in_force.keys.is_some() && files.certificate.is_none() {
            return lost("certificate");
        }
        Ok(())
    }

    /// Notes that the newest files could not be read, so that health shows it.
    pub fn note_unread(&self) {
        self.is_stale.send_replace(true);
    }

    /// True after a reload that failed: the previous files stay in force.
    pub fn is_stale(&self) -> bool {
        *self.is_stale.borrow()
    }

    /// Refuses an address that strangers can reach, where no credentials are configured.
    ///
    /// # Errors
    /// [`AccessError::Open`].
    pub fn check_address(&self, address: SocketAddr) -> Result<(), AccessError> {
        let asks = self.in_force.load().credentials.is_some();
        if asks || address.ip().to_canonical().is_loopback() {
            Ok(())
        } else {
            Err(AccessError::Open(address))
        }
    }

    /// True if callers have to show a credential.
    pub(super) fn asks(&self) -> bool {
        self.in_force.load().credentials.is_some()
    }

    /// The keys for a new connection; `None` without TLS.
    pub(super) fn tls(&self, protocol: Protocol) -> Option<Arc<rustls::ServerConfig>> {
        let in_force = self.in_force.load();
        in_force.keys.as_ref().map(|keys| keys.of(protocol))
    }

    /// The caller of a method with these needs, if it may call that at all; the model that it names is looked
    /// at when it is known.
    pub(super) fn admit(
        &self,
        needs: Needs,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Caller, Refusal> {
        if needs == Needs::Nothing {
            return Ok(Caller::nobody(peer));
        }
        let in_force = self.in_force.load();
        let Some(credentials) = &in_force.credentials else {
            // Listeners that strangers reach are refused at the start; this is of the same mind.
            return if peer.is_local() {
                Ok(Caller::of_this_machine(peer))
            } else {
                Err(self.refused_login(
                    peer,
                    "without credentials only callers of this machine are served",
                ))
            };
        };
        let (credential, not_after) = match credential_of(credentials, headers, peer) {
            Ok(found) => found,
            Err(why) => return Err(self.refused_login(peer, why)),
        };
        let end = credential.expires.into_iter().chain(not_after).min();
        if end.is_some_and(|end| end <= SystemTime::now()) {
            let why = "the credential has expired: ask for a new one";
            return Err(self.refused_login(peer, why));
        }
        if let Needs::OneOf(scopes) = needs
            && !scopes.iter().any(|scope| credential.scopes.contains(scope))
        {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
            let what = format!(
                "the credential {:?} lacks the scope for this: {}",
                credential.name,
                names.join(" or ")
            );
            return Err(Refusal::new(Code::PermissionDenied, "", what));
        }
        Ok(Caller {
            address: peer.address,
            connection: peer.number,
            rights: Rights::Of(credential.clone()),
            end,
        })
    }

    /// Resolves once the credential of a caller ends: it expired, or was changed or removed.
    pub(super) async fn ended(&self, caller: &Caller) {
        let Rights::Of(credential) = &caller.rights else {
            return std::future::pending().await;
        };
        let mut changes = self.changes.subscribe();
        loop {
            let in_force = self.in_force.load_full();
            let credentials = in_force.credentials.as_ref();
            let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
            let left = caller.end.map(left);
            if !credentials.is_some_and(|all| all.holds(credential)) || left == Some(Duration::ZERO)
            {
                return;
            }
            let look = tokio::time::sleep(left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY)));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = look => {}
            }
        }
    }

    /// The reason why a login is refused; one that is refused too often gets a retry delay.
    fn refused_login(&self, peer: &Peer, why: &'static str) -> Refusal {
        let Some(address) = peer.address else {
            return Refusal::new(Code::Unauthenticated, "", why);
        };
        let now = Instant::now();
        let mut logins = self.logins.lock().expect("nothing panics under it");
        if logins.len() >= ADDRESSES_MAX {
            logins.retain(|_, (since, _)| now.duration_since(*since) < Duration::from_secs(1));
        }
        let full = logins.len() >= ADDRESSES_MAX;
        let n = match logins.get_mut(&address.ip()) {
            Some((since, n)) if now.duration_since(*since) < Duration::from_secs(1) => {
                *n += 1;
                *n
            }
            None if full => REFUSED_PER_SECOND + 1,
            _ => {
                logins.insert(address.ip(), (now, 1));
                1
            }
        };
        if n <= REFUSED_PER_SECOND {
            return Refusal::new(Code::Unauthenticated, "", why);
        }
        let what = "too many logins of this address were refused within a second: send a credential that \
                    holds, or come back later";
        Refusal::new(Code::ResourceExhausted, "", what)
    }
}

/// The credential that a request shows: its token, or the certificate of its connection, and when that ends.
fn credential_of<'a>(
    credentials: &'a Credentials,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<(&'a Arc<Credential>, Option<SystemTime>), &'static str> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = sent.next() else {
        let found = credentials.of_certificate(&peer.names);
        let found = found.map(|credential| (credential, peer.not_after));
        return found.ok_or(if peer.names.is_empty() {
            "no credential came: send the header authorization: Bearer TOKEN, or a client certificate"
        } else {
            "no credential is of a name of this client certificate"
        });
    };
    if sent.next().is_some() {
        return Err("authorization: the header came twice");
    }
    if !peer.is_encrypted && !peer.is_local() {
        return Err("a token is taken over TLS alone: whoever sees it on its way can use it");
    }
    let token = header
        .to_str()
        .ok()
        .filter(|text| text.len() <= TOKEN_BYTES_MAX)
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let token = token.ok_or("authorization: expected Bearer TOKEN")?;
    let found = credentials
        .of_token(token)
        .map(|credential| (credential, None));
    found.ok_or("the token is not known: it was revoked, or is of another server")
}

/// The other side of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// `None` where it is a process that opened a socket of the file system.
    pub address: Option<SocketAddr>,
    /// That of its connection.
    pub number: ConnectionNumber,
    pub is_encrypted: bool,
    /// The DNS names and URIs of its certificate, which a root of ours vouches for.
    pub names: Arc<[String]>,
    /// The time at which that certificate ends.
    pub not_after: Option<SystemTime>,
    /// The conduct of its connection.
    pub conduct: Arc<Conduct>,
    /// The usage of the budgets by its address, where it shows no credential.
    pub shares: Arc<Shares>,
}

impl Peer {
    /// A peer of which nothing is known.
    pub(super) fn stranger() -> Peer {
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Peer {
            address: Some(address),
            ..Peer::default()
        }
    }

    fn is_local(&self) -> bool {
        let address = self.address;
        address.is_none_or(|address| address.ip().to_canonical().is_loopback())
    }
}

/// A caller, and the scopes of its call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    address: Option<SocketAddr>,
    connection: ConnectionNumber,
    rights: Rights,
    /// The time at which its credential ends, or its certificate.
    end: Option<SystemTime>,
}

#[derive(Clone, Debug)]
enum Rights {
    None,
    All,
    Of(Arc<Credential>),
}

impl Caller {
    fn nobody(peer: &Peer) -> Caller {
        Caller {
            address: peer.address,
            connection: peer.number,
            rights: Rights::None,
            end: None,
        }
    }

    fn of_this_machine(peer: &Peer) -> Caller {
        Caller {
            address: peer.address,
            connection: peer.number,
            rights: Rights::All,
            end: None,
        }
    }

    /// The caller of a request that was admitted; of any other, one without a right.
    pub(super) fn of<T>(request: &Request<T>) -> Caller {
        let admitted = request.extensions().get::<Caller>();
        admitted
            .cloned()
            .unwrap_or_else(|| Caller::nobody(&Peer::stranger()))
    }

    /// The actor in journals and logs: the name of its credential, or where none is asked for its address.
    pub(super) fn name(&self) -> String {
        match (&self.rights, self.address) {
            (Rights::Of(credential), _) => credential.name.clone(),
            (_, Some(address)) => address.ip().to_string(),
            (_, None) => LOCAL.to_owned(),
        }
    }

    /// The usage of the budget of calls by its credential; `None` where it shows none.
    pub(super) fn share(&self) -> Option<&Arc<CallerUsage>> {
        match &self.rights {
            Rights::None | Rights::All => None,
            Rights::Of(credential) => Some(&credential.share),
        }
    }

    /// True if it has a quota of journaled messages.
    pub(super) fn has_quota(&self) -> bool {
        matches!(&self.rights, Rights::Of(credential) if !credential.quota.is_none())
    }

    /// Spends some of its quota, if it has one.
    pub(super) fn spend(&self, spending: MessageCost) -> Result<(), Refusal> {
        match &self.rights {
            Rights::Of(credential) if self.has_quota() => {
                let (quota, now) = (&credential.quota, Instant::now());
                credential.spent.spend(quota, spending, now)
            }
            _ => Ok(()),
        }
    }

    /// The connection that it calls on.
    pub(super) fn connection(&self) -> ConnectionNumber {
        self.connection
    }

    /// True if it may use a model of this name.
    pub(super) fn may_use(&self, model: &str) -> bool {
        match &self.rights {
            Rights::None => false,
            Rights::All => true,
            Rights::Of(credential) => {
                let models = credential.models.as_ref();
                models.is_none_or(|models| models.contains(model))
            }
        }
    }

    /// True if it has a scope.
    pub(super) fn has(&self, scope: Scope) -> bool {
        match &self.rights {
            Rights::None => false,
            Rights::All => true,
            Rights::Of(credential) => credential.scopes.contains(&scope),
        }
    }

    /// True if its labels supersede those of every source: a credential has the scope to review. Where
    /// none is asked for, no caller is vouched for.
    pub(super) fn may_correct(&self) -> bool {
        match &self.rights {
            Rights::None | Rights::All => false,
            Rights::Of(credential) => credential.scopes.contains(&Scope::Review),
        }
    }

    /// The only source of its feedback, if it is bound to one.
    pub(super) fn source(&self) -> Option<&str> {
        match &self.rights {
            Rights::None | Rights::All => None,
            Rights::Of(credential) => credential.source.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_a_token_is_taken_over_tls_alone_unless_it_comes_from_this_machine() {
        let token = format!("perennial_{}", "7f".repeat(32));
        let digest = blake3::hash(token.as_bytes());
        let credentials = format!(
            "[[credential]]\nname = \"a\"\ntoken = \"{digest}\"\nexpires = \"2100-01-01T00:00:00Z\"\n\
             scopes = [\"predict\"]\n"
        );
        let access = Access::new(&AccessFiles {
            credentials: Some(credentials),
            ..AccessFiles::default()
        });
        let access = access.expect("it is sound");
        let value = format!("Bearer {token}").parse().expect("a header");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let check = |address: Option<&str>, is_encrypted: bool, expected: Result<&str, &str>| {
            let address = address.map(|address| address.parse().expect("an address"));
            let peer = Peer {
                address,
                is_encrypted,
                ..Peer::default()
            };
            let admitted = access.admit(Needs::OneOf(&[Scope::Predict]), &headers, &peer);
            let admitted = admitted.map(|caller| caller.name());
            let admitted = admitted.map_err(|refusal| refusal.message);
            match (&admitted, expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected),
                (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
                _ => panic!("{address:?} {is_encrypted}: {admitted:?}"),
            }
        };
        check(Some("127.0.0.1:1"), false, Ok("a"));
        check(Some("[::ffff:127.0.0.1]:1"), false, Ok("a"));
        check(None, false, Ok("a"));
        check(Some("10.0.0.1:1"), true, Ok("a"));
        check(
            Some("10.0.0.1:1"),
            false,
            Err("a token is taken over TLS alone"),
        );
        check(
            Some("[2001:db8::1]:1"),
            false,
            Err("a token is taken over TLS alone"),
        );
    }
}
