//! Connections that are encrypted, and clients that show a certificate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use perennial::proto::inference::ServerLiveRequest;
use perennial::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use perennial::proto::perennial::v1::registry_client::RegistryClient;
use perennial::proto::perennial::v1::{CheckpointRequest, ListVersionsRequest, VersionMade};
use perennial::server::AccessError;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::guarded::{CLIENT, CLIENT_URI, Guarded, Identities, credential, token};
use crate::support::AUTO;

async fn checkpoint(channel: Channel) -> Result<VersionMade, Status> {
    let order = CheckpointRequest {
        model: "m".to_owned(),
        note: String::new(),
    };
    let made = RegistryClient::new(channel)
        .checkpoint(Request::new(order))
        .await;
    made.map(tonic::Response::into_inner)
}

async fn live(channel: Channel, of: Option<&str>) -> Result<bool, Code> {
    let mut request = Request::new(ServerLiveRequest {});
    if let Some(of) = of {
        let value = format!("Bearer {}", token(of)).parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    let answer = GrpcInferenceServiceClient::new(channel)
        .server_live(request)
        .await;
    answer
        .map(|answer| answer.into_inner().live)
        .map_err(|status| status.code())
}

/// An operator that shows a certificate of this name.
fn trainer(name: &str) -> String {
    let by_name = credential("trainer", "unused", &["operate"], "");
    let lines = by_name.lines().map(|line| {
        if line.starts_with("token") {
            format!("certificate = \"{name}\"\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_client_certificate_has_the_role_of_its_names() {
    let identities = Identities::new();
    for name in [CLIENT, CLIENT_URI] {
        let reader = credential("reader", "reader", &["observe"], "");
        let files = identities.files(format!("{}{reader}", trainer(name)));
        let server = Guarded::start(&[("m", AUTO)], &files).await;
        let known = server.secure(&identities.ca, Some(&identities.client));
        let known = known.await.expect("it may");
        checkpoint(known.clone()).await.expect("it may");
        let request = ListVersionsRequest {
            model: "m".to_owned(),
        };
        let versions = RegistryClient::new(known.clone())
            .list_versions(request)
            .await;
        let versions = versions.expect("it may").into_inner().versions;
        assert_eq!(versions.last().expect("a version").actor, "trainer");
        // Without a certificate a token does as well, and nothing does not.
        let unknown = server.secure(&identities.ca, None).await.expect("it may");
        assert_eq!(live(unknown.clone(), Some("reader")).await, Ok(true));
        let refused = Err(Code::Unauthenticated);
        assert_eq!(live(unknown.clone(), None).await, refused);
        let refusal = checkpoint(unknown).await.expect_err("it may not");
        assert_eq!(refusal.code(), Code::Unauthenticated);
        // A role that is taken away holds no longer, on the connection that is open.
        let without = identities.files(reader);
        server.access.replace(&without).expect("they are sound");
        let refusal = checkpoint(known).await.expect_err("it may no longer");
        assert_eq!(refusal.code(), Code::Unauthenticated);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_certificate_of_another_root_is_refused_in_the_handshake() {
    let (identities, strangers) = (Identities::new(), Identities::new());
    let reader = credential("reader", "reader", &["observe"], "");
    let files = identities.files(format!("{}{reader}", trainer(CLIENT)));
    let server = Guarded::start(&[("m", AUTO)], &files).await;
    // The client may learn of it with its first request only.
    let stranger = server.secure(&identities.ca, Some(&strangers.client)).await;
    let refused = match stranger {
        Err(_) => true,
        Ok(channel) => live(channel, Some("reader")).await.is_err(),
    };
    assert!(refused, "a stranger's certificate was taken");
    // And the server of another root by the client.
    let other = server.secure(&strangers.ca, None).await;
    other.expect_err("another root");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_keys_change_without_a_restart_and_broken_ones_change_nothing() {
    let (old, new) = (Identities::new(), Identities::new());
    let reader = credential("reader", "reader", &["observe"], "");
    let server = Guarded::start(&[("m", AUTO)], &old.files(reader.clone())).await;
    let before = server.secure(&old.ca, None).await.expect("it may");
    let mut mixed = new.files(reader.clone());
    mixed.key = old.files(String::new()).key;
    let refusal = server
        .access
        .replace(&mixed)
        .expect_err("they do not belong together");
    assert!(
        refusal.to_string().starts_with("certificate and key: "),
        "{refusal}"
    );
    let gone = perennial::server::AccessFiles {
        certificate: None,
        key: None,
        client_ca: None,
        ..old.files(reader.clone())
    };
    let refusal = server.access.replace(&gone).expect_err("TLS would be gone");
    assert_eq!(
        refusal.to_string(),
        "certificate: there before, and gone now"
    );
    assert!(server.access.is_stale());
    server
        .secure(&old.ca, None)
        .await
        .expect("those of before hold");
    server
        .access
        .replace(&new.files(reader))
        .expect("they are sound");
    assert!(!server.access.is_stale());
    server
        .secure(&old.ca, None)
        .await
        .expect_err("they are gone");
    let after = server.secure(&new.ca, None).await.expect("it may");
    // A connection goes on with the keys that it began with.
    for channel in [before, after] {
        assert_eq!(live(channel, Some("reader")).await, Ok(true));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_half_a_handshake_keeps_nobody_out_and_plain_text_is_no_way_in() {
    let identities = Identities::new();
    let reader = credential("reader", "reader", &["observe"], "");
    let server = Guarded::start(&[("m", AUTO)], &identities.files(reader)).await;
    // They say nothing, or half a sentence, on both ports.
    let silent: Vec<TcpStream> = [server.grpc, server.http]
        .iter()
        .cycle()
        .take(100)
        .map(|address| TcpStream::connect(address).expect("it listens"))
        .collect();
    for mut stream in &silent[..50] {
        stream.write_all(&[0x16, 0x03, 0x01]).expect("it reads");
    }
    let channel = server.secure(&identities.ca, None).await.expect("it may");
    assert_eq!(live(channel, Some("reader")).await, Ok(true));
    let mut plain = TcpStream::connect(server.http).expect("it listens");
    plain
        .write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("it reads");
    plain
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("it takes one");
    let mut answer = vec![];
    // It may be closed or reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    drop(silent);
    server.stop().await;
}

#[test]
fn p8_an_address_of_strangers_takes_credentials() {
    let open = perennial::server::Access::default();
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
        let refused = open.check_address(address.parse().expect("an address"));
        assert!(matches!(refused, Err(AccessError::Open(_))), "{address}");
    }
    for address in [
        "127.0.0.1:1",
        "127.1.2.3:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        let taken = open.check_address(address.parse().expect("an address"));
        assert!(taken.is_ok(), "{address}");
    }
    let asks = Identities::new().files(credential("a", "a", &["predict"], ""));
    let asks = perennial::server::Access::new(&asks).expect("they are sound");
    assert!(
        asks.check_address("0.0.0.0:1".parse().expect("an address"))
            .is_ok()
    );
}
