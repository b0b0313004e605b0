//! Every method and path with every role.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::guarded::{Guarded, credential, only, token};
use crate::support::AUTO;

const SCOPES: [&str; 6] = [
    "predict", "feedback", "review", "operate", "read", "observe",
];

/// The methods that a role may call, beside those that any credential may.
fn methods_of(scope: &str) -> &'static [&'static str] {
    match scope {
        "predict" => &["ModelReady", "ModelMetadata", "ModelInfer"],
        // It retracts its own alone, and the refusal names the rule.
        "feedback" => &["ModelMetadata", "StreamFeedback", "SubmitFeedback", "Fate"],
        "review" => &["ListQuarantine", "Release", "Discard"],
        "operate" => &[
            "ListVersions",
            "GetVersion",
            "Status",
            "ListIncidents",
            "Watch",
            "Checkpoint",
            "Restore",
            "Retract",
            "Retrain",
            "Promote",
            "Freeze",
            "Resume",
            "SetAlias",
            "UpdateIncident",
            "SetLimits",
        ],
        "read" => &["Audit", "Fate"],
        "observe" => &[
            "ModelReady",
            "ModelMetadata",
            "ListVersions",
            "GetVersion",
            "Status",
            "ListIncidents",
            "Watch",
            "ServerReflectionInfo",
        ],
        other => panic!("no scope {other}"),
    }
}

const OF_ANY: [&str; 3] = ["ServerLive", "ServerReady", "ServerMetadata"];

/// The paths of all methods that are served.
fn paths() -> Vec<String> {
    let mut paths = vec![];
    let all = [
        perennial::proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    for descriptors in all {
        let files = FileDescriptorSet::decode(descriptors).expect("descriptors");
        for file in files.file {
            for service in &file.service {
                let (package, service_name) = (file.package(), service.name());
                let path = |method: &str| format!("/{package}.{service_name}/{method}");
                paths.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
    }
    paths
}

/// The code of an empty message to a path, or of the stream that it opens.
async fn code(channel: &Channel, path: &str, authorization: Option<&str>) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("the connection is there");
    let mut request = Request::new(tokio_stream::iter([()]));
    if let Some(value) = authorization {
        let value: MetadataValue<_> = value.parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    let path: PathAndQuery = path.parse().expect("a path");
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    // A caller without the scope is refused before the stream begins.
    let answered = grpc.streaming(request, path, codec).await;
    answered.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_every_method_is_of_the_roles_that_may_call_it_and_of_no_others() {
    let mut file: String = SCOPES
        .map(|scope| credential(scope, scope, &[scope], ""))
        .concat();
    let old = credential("old", "old", &SCOPES, "");
    file += &old.replace("2100", "2001");
    let server = Guarded::start(&[("m", AUTO)], &only(file)).await;
    let channel = server.plain().await;
    let denied = [Code::Unauthenticated, Code::PermissionDenied];
    let paths = paths();
    assert!(paths.len() > 30, "{paths:?}");
    for path in &paths {
        let method = path.rsplit('/').next().expect("a method");
        let is_health = path.starts_with("/grpc.health.v1.Health/");
        let bearer = |of: &str| format!("Bearer {}", token(of));
        for (name, authorization) in [
            ("nobody", None),
            ("a wrong token", Some(bearer("nowhere"))),
            ("an old token", Some(bearer("old"))),
        ] {
            let got = code(&channel, path, authorization.as_deref()).await;
            // Those that are refused too often get another code.
            let refused = matches!(got, Code::Unauthenticated | Code::ResourceExhausted);
            assert_eq!(refused, !is_health, "{path} of {name}: {got:?}");
        }
        for scope in SCOPES {
            let got = code(&channel, path, Some(&bearer(scope))).await;
            let may = is_health || OF_ANY.contains(&method) || methods_of(scope).contains(&method);
            assert_eq!(!denied.contains(&got), may, "{path} of {scope}: {got:?}");
        }
    }
    let known: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    let unknown: Vec<_> = SCOPES
        .iter()
        .flat_map(|scope| methods_of(scope))
        .filter(|method| !known.contains(*method))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_every_path_over_http_is_of_those_who_may_read_it() {
    let file: String = SCOPES
        .map(|scope| credential(scope, scope, &[scope], ""))
        .concat();
    let limited = credential("limited", "limited", &["observe"], "models = [\"m\"]");
    let server = Guarded::start(&[("m", AUTO), ("n", AUTO)], &only(file + &limited)).await;
    let header = |of: &str| format!("authorization: Bearer {}\r\n", token(of));
    for path in ["/v2/health/live", "/v2/health/ready"] {
        let (first, answer) = server.ask(&format!("GET {path}"), "");
        assert_eq!(first, "HTTP/1.1 200 OK", "{path}");
        assert!(!answer.contains("access-control"), "{answer}");
    }
    let metrics = |headers: &str| server.ask("GET /metrics", headers);
    let (first, answer) = metrics("");
    assert_eq!(first, "HTTP/1.1 401 Unauthorized");
    assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    for scope in SCOPES {
        let expected = match scope {
            "observe" => "HTTP/1.1 200 OK",
            _ => "HTTP/1.1 403 Forbidden",
        };
        assert_eq!(metrics(&header(scope)).0, expected, "{scope}");
    }
    let (_, answer) = metrics(&header("limited"));
    assert!(
        answer.contains("model=\"m\"") && !answer.contains("model=\"n\""),
        "{answer}"
    );
    // A token in the address is none.
    let (first, _) = server.ask(&format!("GET /metrics?token={}", token("observe")), "");
    assert_eq!(first, "HTTP/1.1 401 Unauthorized");
    let twice = format!("{}{}", header("observe"), header("observe"));
    assert_eq!(metrics(&twice).0, "HTTP/1.1 401 Unauthorized");
    let elsewhere = format!("origin: http://example.org\r\n{}", header("observe"));
    assert_eq!(metrics(&elsewhere).0, "HTTP/1.1 403 Forbidden");
    for path in ["/", "/v2/health", "/metrics/", "/v2/models/m/infer"] {
        let (first, _) = server.ask(&format!("GET {path}"), &header("observe"));
        assert_eq!(first, "HTTP/1.1 404 Not Found", "{path}");
    }
    let (first, _) = server.ask("POST /metrics", &header("observe"));
    assert_eq!(first, "HTTP/1.1 405 Method Not Allowed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_without_credentials_a_page_of_another_site_reads_nothing() {
    let server = Guarded::start(&[("m", AUTO)], &Default::default()).await;
    let first = |headers: &str| server.ask("GET /metrics", headers).0;
    assert_eq!(first(""), "HTTP/1.1 200 OK");
    assert_eq!(first("host: 127.0.0.1:8000\r\n"), "HTTP/1.1 200 OK");
    // A name that somebody else had lead here.
    assert_eq!(
        first("host: example.org:8000\r\n"),
        "HTTP/1.1 403 Forbidden"
    );
    assert_eq!(
        first("origin: http://example.org\r\n"),
        "HTTP/1.1 403 Forbidden"
    );
    assert_eq!(first("origin: null\r\n"), "HTTP/1.1 403 Forbidden");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_refused_logins_are_counted_and_limited_and_keep_nobody_out() {
    let file = credential("a", "a", &["predict", "observe"], "");
    let server = Guarded::start(&[("m", AUTO)], &only(file)).await;
    let channel = server.plain().await;
    let path = "/inference.GRPCInferenceService/ServerLive";
    let mut limited = 0;
    for n in 0..500 {
        let wrong = format!("Bearer {}", token(&n.to_string()));
        let got = code(&channel, path, Some(&wrong)).await;
        assert!(
            matches!(got, Code::Unauthenticated | Code::ResourceExhausted),
            "{got:?}"
        );
        limited += usize::from(got == Code::ResourceExhausted);
    }
    assert!(limited > 0, "none was told to come back later");
    let right = format!("Bearer {}", token("a"));
    assert_eq!(code(&channel, path, Some(&right)).await, Code::Ok);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "bearer\tx",
        &"x".repeat(1_000),
    ] {
        let got = code(&channel, path, Some(wrong)).await;
        assert!(
            matches!(got, Code::Unauthenticated | Code::ResourceExhausted),
            "{wrong:?} {got:?}"
        );
    }
    let (_, page) = server.ask("GET /metrics", &format!("authorization: {right}\r\n"));
    let refused = page.lines().filter_map(|line| {
        let of_login = line.strip_prefix("perennial_refused_total{flow=\"login\",")?;
        let (_, n) = of_login.split_once("} ")?;
        n.parse::<u64>().ok()
    });
    assert_eq!(refused.sum::<u64>(), 506, "{page}");
    server.stop().await;
}
