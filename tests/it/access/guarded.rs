//! A server in this process that asks who calls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use perennial::engine::Engine;
use perennial::server::{self, Access, AccessFiles, Listeners};
use perennial::store::Disk;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::Workspace;

/// A token and its digest stand for each other by this name.
pub(super) fn token(of: &str) -> String {
    format!("perennial_{}", blake3::hash(of.as_bytes()))
}

/// An entry of a file of credentials, with a line more.
pub(super) fn credential(name: &str, token_of: &str, scopes: &[&str], line: &str) -> String {
    let digest = blake3::hash(token(token_of).as_bytes());
    format!(
        "[[credential]]\nname = \"{name}\"\ntoken = \"{digest}\"\nexpires = \"2100-01-01T00:00:00Z\"\n\
         scopes = {scopes:?}\n{line}\n"
    )
}

/// The files of access with these credentials and nothing else.
pub(super) fn only(credentials: String) -> AccessFiles {
    AccessFiles {
        credentials: Some(credentials),
        ..AccessFiles::default()
    }
}

/// A running server.
pub(super) struct Guarded {
    pub access: Arc<Access>,
    pub engine: Arc<Engine>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), server::Error>>,
    _workspace: Workspace,
}

impl Guarded {
    pub(super) async fn start(models: &[(&str, &str)], files: &AccessFiles) -> Guarded {
        Guarded::start_bounded(models, files, server::Config::default()).await
    }

    /// By bounds of its own.
    pub(super) async fn start_bounded(
        models: &[(&str, &str)],
        files: &AccessFiles,
        bounds: server::Config,
    ) -> Guarded {
        Guarded::start_on(Disk::default(), models, files, bounds).await
    }

    /// On a disk that the test watches.
    pub(super) async fn start_on(
        disk: Disk,
        models: &[(&str, &str)],
        files: &AccessFiles,
        bounds: server::Config,
    ) -> Guarded {
        let workspace = Workspace::new(models);
        let engine = workspace.open_on(disk);
        let access = Arc::new(Access::new(files).expect("the files are sound"));
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners {
            grpc: bind().await.expect("a free port"),
            http: bind().await.expect("a free port"),
        };
        let grpc = listeners.grpc.local_addr().expect("an address");
        let http = listeners.http.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let config = server::Config {
            access: access.clone(),
            ..bounds
        };
        let running = tokio::spawn(server::run(listeners, engine.clone(), config, shutdown));
        Guarded {
            access,
            engine,
            grpc,
            http,
            stop,
            running,
            _workspace: workspace,
        }
    }

    /// A connection without TLS.
    pub(super) async fn plain(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc));
        let connected = endpoint.expect("a URL").connect().await;
        connected.expect("it listens")
    }

    /// A connection with TLS.
    pub(super) async fn secure(
        &self,
        ca: &str,
        identity: Option<&(String, String)>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut config = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(ca));
        if let Some((certificate, key)) = identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.grpc));
        let endpoint = endpoint.expect("a URL").tls_config(config);
        endpoint.expect("the keys are sound").connect().await
    }

    /// The first line and the whole of an answer over HTTP.
    pub(super) fn ask(&self, line: &str, headers: &str) -> (String, String) {
        let mut http = TcpStream::connect(self.http).expect("it listens");
        let host = if headers.contains("host:") {
            ""
        } else {
            "host: localhost\r\n"
        };
        let request = format!("{line} HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n");
        http.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        http.read_to_string(&mut answer).expect("UTF-8");
        let first = answer.lines().next().unwrap_or_default().to_owned();
        (first, answer)
    }

    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let ended = self.running.await.expect("it does not panic");
        ended.expect("it ends well");
        self.engine.close();
    }
}

/// A root, and its certificates and keys as PEM.
pub(super) struct Identities {
    pub ca: String,
    issuer: Issuer<'static, KeyPair>,
    pub server: (String, String),
    /// Of a client by the names of `CLIENT` and `CLIENT_URI`.
    pub client: (String, String),
}

pub(super) const CLIENT: &str = "trainer.internal";
pub(super) const CLIENT_URI: &str = "spiffe://example.org/trainer";

impl Identities {
    pub(super) fn new() -> Identities {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("a root").pem();
        let issuer = Issuer::new(params, key);
        let mut client = CertificateParams::new(vec![CLIENT.to_owned()]).expect("parameters");
        let uri = CLIENT_URI.try_into().expect("a URI");
        client.subject_alt_names.push(SanType::URI(uri));
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        Identities {
            ca,
            server: signed(server, &issuer),
            client: signed(client, &issuer),
            issuer,
        }
    }

    /// A certificate of the server that no client takes any more.
    pub(super) fn expired(&self) -> (String, String) {
        let mut old = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        old.not_before = rcgen::date_time_ymd(2000, 1, 1);
        old.not_after = rcgen::date_time_ymd(2001, 1, 1);
        signed(old, &self.issuer)
    }

    /// A certificate of the server that no client takes yet.
    pub(super) fn early(&self) -> (String, String) {
        let mut early = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        early.not_before = rcgen::date_time_ymd(2200, 1, 1);
        early.not_after = rcgen::date_time_ymd(2201, 1, 1);
        signed(early, &self.issuer)
    }

    /// A certificate of the client that ends so many seconds from now.
    pub(super) fn client_for(&self, seconds: u64) -> (String, String) {
        let mut client = CertificateParams::new(vec![CLIENT.to_owned()]).expect("parameters");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let end = now.expect("after 1970") + Duration::from_secs(seconds);
        client.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        signed(client, &self.issuer)
    }

    /// The files of a server with these keys.
    pub(super) fn files(&self, credentials: String) -> AccessFiles {
        AccessFiles {
            credentials: Some(credentials),
            certificate: Some(self.server.0.clone().into_bytes()),
            key: Some(self.server.1.clone().into_bytes()),
            client_ca: Some(self.ca.clone().into_bytes()),
        }
    }
}

fn signed(params: CertificateParams, issuer: &Issuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
