//! The webhook: signed, tried again within a bound, to no address but those allowed, and never in the way.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perennial::engine::PredictOptions;
use perennial::event::Order;
use perennial::proto::perennial::v1::StatusRequest;
use perennial::server::{Webhook, WebhookConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::receiver::{Answer, Receiver, SECRET, is_untouched, untouched};
use super::{GOOD, Served, described, freeze_and_resume, give, until};
use crate::support::{Workspace, rows};

const OK: Answer = Answer::Status("200 OK");

fn config(url: String) -> WebhookConfig {
    WebhookConfig {
        url,
        secret: SECRET.to_owned(),
        retry_wait: Duration::from_millis(1),
        ..WebhookConfig::default()
    }
}

async fn start(workspace: &Workspace, config: &WebhookConfig, queue_max: usize) -> Served {
    let webhook = Webhook::new(config).expect("a configuration");
    Served::start(workspace, Some((webhook, queue_max))).await
}

fn workspace() -> Workspace {
    Workspace::new(&[("m", &described("live", GOOD))])
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_event_that_is_not_taken_is_sent_again_under_the_same_id() {
    let workspace = workspace();
    let failing = Answer::Status("500 Internal Server Error");
    let receiver = Receiver::start(vec![failing.clone(), failing, OK]);
    let served = start(&workspace, &config(receiver.url()), 10).await;
    let position = give(&served.model(), Order::Freeze, "under review").await;
    let posted = [receiver.next(), receiver.next(), receiver.next()];
    for one in &posted {
        let event = one.event();
        assert_eq!(event["id"], format!("m/{position}/frozen/0"));
        assert_eq!(
            (&event["actor"], &event["note"]),
            (&"ann".into(), &"under review".into())
        );
        assert_eq!(
            (&one.target[..], &one.body),
            ("/hook?team=7", &posted[0].body)
        );
        assert_eq!(one.headers["host"], receiver.address.to_string());
    }
    let deliveries = served.engine.deliveries().unwrap().clone();
    until("it is noted", || deliveries.counts().delivered == 1).await;
    let counts = deliveries.counts();
    assert_eq!((counts.retried, counts.given_up, counts.queued), (2, 0, 0));
    assert_eq!(counts.last_error, "");
    give(&served.model(), Order::Resume, "").await;
    assert_eq!(receiver.next().event()["kind"], "resumed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_redirect_is_not_followed_and_an_event_is_given_up_within_a_bound() {
    let workspace = workspace();
    let elsewhere = untouched();
    let to = format!("http://{}/", elsewhere.local_addr().unwrap());
    let receiver = Receiver::start(vec![Answer::Redirect(to.clone()), Answer::Redirect(to), OK]);
    let config = WebhookConfig {
        attempts_max: 2,
        ..config(receiver.url())
    };
    let served = start(&workspace, &config, 10).await;
    let deliveries = served.engine.deliveries().unwrap().clone();
    give(&served.model(), Order::Freeze, "").await;
    until("it is given up", || deliveries.counts().given_up == 1).await;
    let counts = deliveries.counts();
    assert_eq!((counts.retried, counts.queued), (1, 0));
    let expected =
        "it answered 302 Found, and redirects are not followed; set webhook.url to where it is";
    assert_eq!(counts.last_error, expected);
    let tried = [receiver.next(), receiver.next()];
    assert_eq!(tried[0].id(), tried[1].id());
    assert!(is_untouched(&elsewhere));
    // The next event has attempts of its own.
    give(&served.model(), Order::Resume, "").await;
    assert_eq!(receiver.next().event()["kind"], "resumed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_p8_a_webhook_that_hangs_is_in_nobodys_way_and_its_queue_has_a_bound() {
    let workspace = workspace();
    let receiver = Receiver::start(vec![Answer::Hang]);
    let served = start(&workspace, &config(receiver.url()), 3).await;
    let (model, deliveries) = (served.model(), served.engine.deliveries().unwrap().clone());
    give(&model, Order::Freeze, "").await;
    let hanging = receiver.next();
    give(&model, Order::Resume, "").await;
    freeze_and_resume(&model, 6, "").await;
    for (batch, _) in rows(20, 0.3) {
        let snapshot = model.snapshot("").unwrap();
        let answer = model.predict(&snapshot, batch, PredictOptions::default());
        assert_eq!(answer.await.unwrap().ids.len(), 1);
    }
    until("what found no room is counted", || {
        deliveries.counts().dropped == 5
    })
    .await;
    assert_eq!(deliveries.counts().queued, 3);
    let mut client = served.client().await;
    let status = client
        .registry
        .status(StatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    let webhook = status.webhook.expect("there is one");
    assert_eq!(
        (webhook.queued, webhook.queue_max, webhook.dropped),
        (3, 3, 5)
    );
    served.stop().await;

    // The next server sends the queued events, the newest having been dropped; a hang has an end.
    let receiver = Receiver::start(vec![Answer::Hang, OK]);
    let config = WebhookConfig {
        timeout: Duration::from_millis(300),
        ..config(receiver.url())
    };
    let served = start(&workspace, &config, 3).await;
    let deliveries = served.engine.deliveries().unwrap().clone();
    let posted = [0; 4].map(|_| receiver.next());
    assert_eq!(posted[0].id(), hanging.id());
    assert_eq!(posted[1].id(), hanging.id(), "it is tried again");
    let kinds = posted[1..].iter().map(|one| one.event()["kind"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["frozen", "resumed", "frozen"]);
    until("all is delivered", || deliveries.counts().queued == 0).await;
    assert_eq!(deliveries.counts().retried, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_and_a_closed_port_have_a_sentence_each() {
    let workspace = workspace();
    let receiver = Receiver::start(vec![Answer::Hang]);
    let closed = untouched().local_addr().unwrap();
    let cases = [
        (receiver.url(), "it gave no answer within 0.1 s".to_owned()),
        (
            format!("http://{closed}/"),
            format!("cannot connect to {closed}: "),
        ),
    ];
    for (url, expected) in cases {
        let config = WebhookConfig {
            timeout: Duration::from_millis(100),
            attempts_max: 1,
            ..config(url)
        };
        let served = start(&workspace, &config, 10).await;
        let deliveries = served.engine.deliveries().unwrap().clone();
        freeze_and_resume(&served.model(), 2, "").await;
        until("both are given up", || deliveries.counts().given_up == 2).await;
        let counts = deliveries.counts();
        assert!(counts.last_error.starts_with(&expected), "{counts:?}");
        served.stop().await;
    }
}

/// A certificate authority in PEM, and a server's configuration with a certificate of it for `localhost`.
fn authority() -> (Vec<u8>, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(ca.der())
    );
    let key = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(own.der().to_vec())], key)
        .unwrap();
    (pem.into_bytes(), Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn https_takes_the_certificates_that_the_configuration_trusts_and_no_others() {
    let workspace = workspace();
    let (ca, tls) = authority();
    let (another, _) = authority();
    let receiver = Receiver::start_with(vec![OK], Some(tls));
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    for untrusted in [None, Some(another)] {
        let config = WebhookConfig {
            ca: untrusted,
            attempts_max: 1,
            ..config(url.clone())
        };
        let served = start(&workspace, &config, 10).await;
        let deliveries = served.engine.deliveries().unwrap().clone();
        freeze_and_resume(&served.model(), 2, "").await;
        until("both are given up", || deliveries.counts().given_up == 2).await;
        let error = deliveries.counts().last_error;
        assert!(error.starts_with("TLS with localhost failed: "), "{error}");
        served.stop().await;
    }
    let config = WebhookConfig {
        ca: Some(ca),
        ..config(url)
    };
    let served = start(&workspace, &config, 10).await;
    give(&served.model(), Order::Freeze, "").await;
    assert_eq!(
        receiver.next().event()["kind"],
        "frozen",
        "and nothing came before"
    );
    served.stop().await;
}
