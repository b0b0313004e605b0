//! Metrics for Prometheus and health for load balancers, over plain HTTP.
//!
//! Invariant: a metric of a model without further labels is one line of the tables below; every value
//! is read when it is asked for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;

use super::access::Caller;
use super::caller_places::CallerPlace;
use super::connection_counts::CloseReason;
use super::connections::Connections;
use super::context::ServerContext;
use super::exposition::{each_bucket, escaped, head, shown};
use super::guard::{guard, refused};
use crate::engine::{
    self, Bound, Figure, HistogramCounts, LearningEventKind, Level, Phase, Status,
};

/// The longest time for the headers of a request, and for an idle connection.
const HEADERS_MAX: Duration = Duration::from_secs(30);
/// Bytes of a connection that are read ahead.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number of each model.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Status) -> f64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Status) -> f64) -> Metric {
    Metric {
        name,
        kind: "gauge",
        help,
        value,
    }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Status) -> f64) -> Metric {
    Metric {
        name,
        kind: "counter",
        help,
        value,
    }
}

const METRICS: [Metric; 14] = [
    gauge(
        "perennial_ready",
        "Whether the model answers and learns.",
        |s| f64::from(u8::from(matches!(s.state, engine::Readiness::Ready))),
    ),
    gauge("perennial_version", "The version that answers.", |s| {
        s.version as f64
    }),
    gauge("perennial_position", "The position that answers.", |s| {
        s.position as f64
    }),
    gauge(
        "perennial_journal_position",
        "The last position on disk.",
        |s| s.journal_position as f64,
    ),
    gauge("perennial_lag_entries", "Entries yet to be applied.", |s| {
        s.lag as f64
    }),
    gauge("perennial_journal_bytes", "Size of the journal.", |s| {
        s.journal_bytes as f64
    }),
    gauge(
        "perennial_journal_bytes_per_day",
        "How much the journal grows in a day.",
        |s| s.journal_bytes_a_day,
    ),
    gauge(
        "perennial_journal_days_left",
        "Days until predictions are no longer journaled; +Inf where that never comes.",
        |s| s.journal_days_left.unwrap_or(f64::INFINITY),
    ),
    counter("perennial_examples_total", "Examples learned.", |s| {
        s.examples as f64
    }),
    counter(
        "perennial_judged_total",
        "Served answers that were judged.",
        |s| s.judged as f64,
    ),
    gauge(
        "perennial_waiting_predictions",
        "Predictions that wait for feedback.",
        |s| s.waiting as f64,
    ),
    gauge(
        "perennial_quarantined_events",
        "Feedback that waits in quarantine for a person.",
        |s| s.quarantined as f64,
    ),
    counter(
        "perennial_unjournaled_total",
        "Predictions without a journal entry.",
        |s| s.unjournaled as f64,
    ),
    gauge(
        "perennial_remembered_examples",
        "Examples in memory.",
        |s| s.remembered as f64,
    ),
];

/// A score of each model that has one by now.
struct Score {
    name: &'static str,
    help: &'static str,
    value: fn(&Status) -> Option<f64>,
}

const SCORES: [Score; 11] = [
    Score {
        name: "perennial_score",
        help: "Progressive score over everything judged; absent before.",
        value: |s| s.score,
    },
    Score {
        name: "perennial_recent_score",
        help: "Progressive score of about the last thousand; absent before.",
        value: |s| s.recent_score,
    },
    Score {
        name: "perennial_no_change_score",
        help: "Score of repeating the newest label; absent before.",
        value: |s| s.no_change_score,
    },
    Score {
        name: "perennial_retention",
        help: "Share of the retention set that is answered right; absent without one.",
        value: |s| s.retention,
    },
    Score {
        name: "perennial_steady_answers",
        help: "Newest answers whose error is steady; absent before there are any.",
        value: |s| s.steady_answers,
    },
    Score {
        name: "perennial_champion_version",
        help: "The version of the champion; absent without a gate, as all that follow.",
        value: |s| Some(s.gate.as_ref()?.champion.0 as f64),
    },
    Score {
        name: "perennial_decline_evidence_ratio",
        help: "Wealth of the evidence that the candidate is worse, of that which rewinds.",
        value: |s| s.gate.as_ref().map(|gate| ratio(gate.decline)),
    },
    Score {
        name: "perennial_promotion_evidence_ratio",
        help: "Wealth of the evidence for the contender, of that which promotes.",
        value: |s| s.gate.as_ref()?.promotion.map(ratio),
    },
    Score {
        name: "perennial_frozen",
        help: "Whether examples are scored and not learned.",
        value: |s| Some(f64::from(u8::from(s.gate.as_ref()?.frozen))),
    },
    Score {
        name: "perennial_open_incidents",
        help: "Incidents that nobody has closed.",
        value: |s| Some(s.gate.as_ref()?.n_open_incidents() as f64),
    },
    Score {
        name: "perennial_retraining",
        help: "Whether a learner that begins anew is derived.",
        value: |s| {
            Some(f64::from(u8::from(
                s.retraining.is_some_and(|one| one.is_open),
            )))
        },
    },
];

fn ratio(evidence: engine::Evidence) -> f64 {
    evidence.wealth / evidence.needed
}

/// Values of each model, counted by size.
struct Distribution {
    name: &'static str,
    help: &'static str,
    /// One of its units, in that of the metric.
    unit: f64,
    counts: fn(&Status) -> &HistogramCounts,
}

const GROUP_ENTRIES: Distribution = Distribution {
    name: "perennial_group_entries",
    help: "Entries that one sync of the journal covered.",
    unit: 1.0,
    counts: |s| &s.group_entries,
};

const SYNC_SECONDS: Distribution = Distribution {
    name: "perennial_sync_seconds",
    help: "How long a sync of the journal took.",
    unit: 1e-6,
    counts: |s| &s.sync_us,
};

/// Counts by a word, and the label that has it.
const FATES: [&str; 2] = ["perennial_feedback_events", "fate"];
const ALARMS: [&str; 2] = ["perennial_drift_alarms", "watched"];

/// Every path that is served over HTTP.
fn router(context: Arc<ServerContext>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(ready))
        .layer(from_fn_with_state(context.clone(), guard))
        .with_state(context)
}

/// Serves the paths until `stop`; requests under way are then answered, and idle connections end.
pub(super) async fn serve(
    mut connections: Connections,
    context: Arc<ServerContext>,
    stop: impl Future<Output = ()>,
) {
    let router = router(context.clone());
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        // It knows no time before 1970.
        .auto_date_header(false)
        .header_read_timeout(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            () = &mut stop => break,
        };
        let router = router.clone().layer(Extension(connection.peer().clone()));
        let service = TowerToHyperService::new(router);
        let serving = server.serve_connection(TokioIo::new(connection), service);
        let serving = graceful.watch(serving);
        let context = context.clone();
        tokio::spawn(async move {
            // A client that broke off is no fault of ours.
            if let Err(error) = serving.await
                && error.is_timeout()
            {
                context.connections.close(CloseReason::Silent);
            }
        });
    }
    drop(connections);
    graceful.shutdown().await;
}

/// Ready or not, the text names each bound that is near or reached, and the remedy.
async fn ready(State(context): State<Arc<ServerContext>>) -> (StatusCode, String) {
    let code = if context.ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = String::new();
    if context.access().is_stale() {
        text += "access: reload failed; the previous files stay in force: see the log\n";
    }
    // A caller without a credential gets no names.
    let named = !context.access().asks();
    for model in context.engine.models() {
        let bounds = model.bounds().into_iter();
        for bound in bounds.filter(|bound| bound.level > Level::Ample) {
            let (name, level) = (bound.name, bound.level.word());
            text += &if named {
                format!("{}: {name} is {level}: {}\n", model.name(), bound.advice)
            } else {
                // An advice names its model.
                format!("a model: {name} is {level}\n")
            };
        }
    }
    (code, text)
}

async fn metrics(
    State(context): State<Arc<ServerContext>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let place = match context.pages.enter(&caller) {
        Ok(place) => place,
        Err(refusal) => return refused(&refusal),
    };
    let models: Vec<_> = context.models(&caller).cloned().collect();
    // A look at a model may wait for its learner: not on the threads that answer.
    let look = move || Ok(models.iter().map(|model| model.status(false)).collect());
    let mut statuses: Vec<Status> = context.look(look).await.unwrap_or_default();
    // A folder of models may have any name.
    for status in &mut statuses {
        status.model = escaped(&status.model);
    }
    let mut text = of_models(&statuses);
    let help = "Calls over gRPC that were answered, by method and code.";
    head(&mut text, "perennial_calls_total", "counter", help);
    for ([service, method, code], n) in context.calls.counted() {
        let labels = format!("service=\"{service}\",method=\"{method}\",code=\"{code}\"");
        text += &format!("perennial_calls_total{{{labels}}} {n}\n");
    }
    of_refusals(&mut text, &context);
    let mut gauge = |name: &str, help: &str, n: u64| {
        head(&mut text, name, "gauge", help);
        text += &format!("{name} {n}\n");
    };
    let help = "Connections that are open, on both ports.";
    gauge(
        "perennial_connections",
        help,
        context.connections.n() as u64,
    );
    let help = "Predictions that are computed, or wait for that.";
    let n_places = context.compute_queue.n_places();
    gauge("perennial_queued_predictions", help, n_places as u64);
    let help = "Bytes of the requests that are read and answered now.";
    gauge("perennial_request_bytes", help, context.requests.bytes());
    of_events(&mut text, &context, &caller);
    page(text, place)
}

/// A page of metrics in pieces, which has its place until all but the last of it is written.
fn page(text: String, place: CallerPlace) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS_TEXT)),
        (CONTENT_LENGTH, HeaderValue::from(text.len())),
    ];
    let pieces = stream::unfold((Bytes::from(text), place), async |(mut rest, place)| {
        let piece = rest.split_to(rest.len().min(BUFFER_BYTES_MAX));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, place)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}

/// The counts of refusals and of closed connections.
fn of_refusals(text: &mut String, context: &ServerContext) {
    let name = "perennial_refused_total";
    let help = "Requests and events refused, by what is at fault.";
    head(text, name, "counter", help);
    for refusals in [
        &context.refused_predictions,
        &context.refused_feedback,
        &context.refused_logins,
        &context.refused_calls,
    ] {
        let flow = refusals.flow;
        for ((code, field, reason), n) in refusals.counts() {
            let labels = format!("flow=\"{flow}\",code=\"{code}\",field=\"{field}\"");
            *text += &format!("{name}{{{labels},reason=\"{reason}\"}} {n}\n");
        }
    }
    for (flow, reason, n) in context.refused_by_budgets() {
        let labels = format!("flow=\"{flow}\",code=\"RESOURCE_EXHAUSTED\",field=\"\"");
        *text += &format!("{name}{{{labels},reason=\"{reason}\"}} {n}\n");
    }
    let connections = &context.connections;
    let name = "perennial_refused_connections_total";
    head(
        text,
        name,
        "counter",
        "Connections closed at once, by the bound that was reached.",
    );
    for (reason, n) in connections.refused() {
        *text += &format!("{name}{{reason=\"{reason}\"}} {n}\n");
    }
    let name = "perennial_closed_connections_total";
    head(
        text,
        name,
        "counter",
        "Connections closed that were open, by the reason.",
    );
    for (reason, n) in connections.closed() {
        *text += &format!("{name}{{reason=\"{reason}\"}} {n}\n");
    }
}

/// Learning events, who watches them, and the webhook that they are posted to; zero where there is none.
fn of_events(text: &mut String, context: &ServerContext, caller: &Caller) {
    let engine = &context.engine;
    let published = engine.published();
    let name = "perennial_learning_events_total";
    let help = "Learning events since the start, by kind.";
    head(text, name, "counter", help);
    for model in context.models(caller).map(|model| model.name()) {
        for kind in LearningEventKind::ALL.map(LearningEventKind::word) {
            let n = published.events.get(&(model.to_owned(), kind));
            let (n, model) = (n.copied().unwrap_or(0), escaped(model));
            *text += &format!("{name}{{model=\"{model}\",kind=\"{kind}\"}} {n}\n");
        }
    }
    let deliveries = engine.deliveries();
    let counts = deliveries.map(|one| one.counts()).unwrap_or_default();
    let name = "perennial_webhook_deliveries_total";
    let help = "Learning events for the webhook, by outcome.";
    head(text, name, "counter", help);
    for (outcome, n) in [
        ("delivered", counts.delivered),
        ("retried", counts.retried),
        ("given_up", counts.given_up),
        ("dropped", counts.dropped),
    ] {
        *text += &format!("{name}{{outcome=\"{outcome}\"}} {n}\n");
    }
    let mut put = |name: &str, kind: &str, help: &str, n: u64| {
        head(text, name, kind, help);
        *text += &format!("{name} {n}\n");
    };
    let help = "Learning events that wait for the webhook.";
    put(
        "perennial_webhook_queued_events",
        "gauge",
        help,
        counts.queued as u64,
    );
    let help = "Watches of learning events that are open.";
    put("perennial_watches", "gauge", help, published.watches as u64);
    let help = "Watches dropped, since they did not keep up.";
    let n_dropped = published.dropped_watches;
    put(
        "perennial_dropped_watches_total",
        "counter",
        help,
        n_dropped,
    );
}

/// Names of models are escaped by now. Fates and members hold nothing that a label must escape; those of
/// classes and slices may.
fn of_models(statuses: &[Status]) -> String {
    let mut text = String::new();
    for metric in METRICS {
        head(&mut text, metric.name, metric.kind, metric.help);
        for status in statuses {
            let (name, model) = (metric.name, &status.model);
            let value = shown((metric.value)(status));
            text += &format!("{name}{{model=\"{model}\"}} {value}\n");
        }
    }
    for score in SCORES {
        head(&mut text, score.name, "gauge", score.help);
        for status in statuses {
            let (name, model) = (score.name, &status.model);
            if let Some(value) = (score.value)(status) {
                text += &format!("{name}{{model=\"{model}\"}} {value}\n");
            }
        }
    }
    // A fate may give way to another, so that its count can fall, and a retraction derives alarms again.
    let help = "Feedback events by their fate.";
    each_count(&mut text, statuses, FATES, help, |s| &s.fates);
    let help = "Alarms of drift, by the stream that raised them.";
    each_count(&mut text, statuses, ALARMS, help, |s| &s.drift_alarms);
    let help = "Figures of the monitors, by name and span.";
    head(&mut text, "perennial_monitor", "gauge", help);
    for status in statuses {
        each_figure(&mut text, &status.model, &status.figures);
    }
    let help = "How much of each bound is used; at 1 something gives way or is refused.";
    head(&mut text, "perennial_bound_used_ratio", "gauge", help);
    each_bound(&mut text, statuses, "perennial_bound_used_ratio", |b| {
        b.used
    });
    let help = "How near each bound is: 0 ample, 1 near, 2 reached.";
    head(&mut text, "perennial_bound_level", "gauge", help);
    each_bound(&mut text, statuses, "perennial_bound_level", |b| {
        f64::from(b.level as u8)
    });
    histogram(&mut text, statuses, &GROUP_ENTRIES);
    histogram(&mut text, statuses, &SYNC_SECONDS);
    phases(&mut text, statuses);
    of_members(&mut text, statuses);
    text
}

/// The share and the retention of each member of a portfolio.
fn of_members(text: &mut String, statuses: &[Status]) {
    let help = "Share of each member in the answer.";
    head(text, "perennial_member_share", "gauge", help);
    for status in statuses {
        let model = &status.model;
        for member in &status.members {
            let labels = format!("model=\"{model}\",member=\"{}\"", member.name);
            *text += &format!("perennial_member_share{{{labels}}} {}\n", member.share);
        }
    }
    let help = "Share of the retention set that each member answers right; absent without one.";
    head(text, "perennial_member_retention", "gauge", help);
    for status in statuses {
        let model = &status.model;
        for member in &status.members {
            if let Some(retention) = member.retention {
                let labels = format!("model=\"{model}\",member=\"{}\"", member.name);
                *text += &format!("perennial_member_retention{{{labels}}} {retention}\n");
            }
        }
    }
}

fn each_count(
    text: &mut String,
    statuses: &[Status],
    [name, label]: [&str; 2],
    help: &str,
    counts: fn(&Status) -> &BTreeMap<&'static str, u64>,
) {
    head(text, name, "gauge", help);
    for status in statuses {
        let model = &status.model;
        for (word, n) in counts(status) {
            *text += &format!("{name}{{model=\"{model}\",{label}=\"{word}\"}} {n}\n");
        }
    }
}

/// A line for each span that a figure is known for.
fn each_figure(text: &mut String, model: &str, figures: &[Figure]) {
    for figure in figures {
        let mut labels = format!("model=\"{model}\",monitor=\"{}\"", figure.name);
        for (label, value) in [("of", &figure.of), ("slice", &figure.slice)] {
            if !value.is_empty() {
                labels += &format!(",{label}=\"{}\"", escaped(value));
            }
        }
        let spans = [
            ("all", figure.all),
            ("window", figure.window),
            ("recent", figure.recent),
        ];
        for (span, value) in spans {
            if let Some(value) = value {
                *text += &format!("perennial_monitor{{{labels},span=\"{span}\"}} {value}\n");
            }
        }
    }
}

fn each_bound(text: &mut String, statuses: &[Status], name: &str, value: fn(&Bound) -> f64) {
    for status in statuses {
        let model = &status.model;
        for bound in &status.bounds {
            let labels = format!("model=\"{model}\",bound=\"{}\"", bound.name);
            *text += &format!("{name}{{{labels}}} {}\n", value(bound));
        }
    }
}

fn histogram(text: &mut String, statuses: &[Status], of: &Distribution) {
    head(text, of.name, "histogram", of.help);
    for status in statuses {
        let labels = format!("model=\"{}\"", status.model);
        each_bucket(text, (of.name, &labels), (of.counts)(status), of.unit);
    }
}

/// The durations of the phases, each model's apart.
fn phases(text: &mut String, statuses: &[Status]) {
    let name = "perennial_phase_seconds";
    let help = "How long each phase of predictions and feedback took.";
    head(text, name, "histogram", help);
    for status in statuses {
        for (phase, counts) in Phase::ALL.iter().zip(&status.phases) {
            let labels = format!("model=\"{}\",phase=\"{}\"", status.model, phase.word());
            each_bucket(text, (name, &labels), counts, 1e-6);
        }
    }
}
