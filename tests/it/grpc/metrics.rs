//! The page for Prometheus beside the table of docs/wire.md.
//!
//! Invariant: both have the same metrics, each with the same type and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::grpc::served::{Served, question};
use crate::support::{AUTO, rows};

/// The type and the labels of each metric, by its name; without the label `model`.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the table of metrics. A row may have several names: they share their type.
fn documented() -> Metrics {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wire.md");
    let document = fs::read_to_string(path).expect("it is read");
    let (_, table) = document.split_once("| Metric |").expect("the table");
    let mut metrics = Metrics::new();
    let rows = table.lines().skip(2);
    for row in rows.take_while(|row| row.starts_with('|')) {
        let mut cells = row.split('|').skip(1);
        let (names, kind) = (cells.next(), cells.next());
        let kind = kind.expect("a type").trim();
        for name in names.expect("names").split('`').skip(1).step_by(2) {
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let labels = labels.trim_end_matches('}').split(',');
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
            let metric = (kind.to_owned(), labels.collect());
            let before = metrics.insert(name.to_owned(), metric);
            assert!(before.is_none(), "{name} stands twice");
        }
    }
    metrics
}

/// The metrics of a page, with the labels of their samples.
fn served(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let mut newest = String::new();
    for line in page.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            let (name, kind) = named.split_once(' ').expect("a type");
            newest = name.to_owned();
            let before = metrics.insert(newest.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(before.is_none(), "{name} stands twice");
        } else if let Some(sample) = line.strip_prefix(&newest) {
            let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
            // Each is followed by its value in quotes.
            let labels = labels.split('"').step_by(2);
            let labels = labels.filter_map(|label| label.trim_start_matches(',').strip_suffix('='));
            let (_, known) = metrics.get_mut(&newest).expect("its type stands before it");
            // A histogram has the bound of a bucket for a label, by its type.
            known.extend(
                labels
                    .filter(|label| !["model", "le"].contains(label))
                    .map(str::to_owned),
            );
        }
    }
    metrics
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_the_metrics_that_are_served() {
    let sliced = format!("{AUTO}[monitor]\ninputs = [\"c\"]\n");
    let mut server = Served::start(&[("m", &sliced)]).await;
    // From then on there is a score, a fate, and of each member a share and its retention.
    server.client.teach_rows("m", 300, 0.0, "row").await;
    let (batch, _) = rows(1, 0.0).next().expect("a row");
    let refused = server.client.ask(question("nobody", &batch)).await;
    refused.expect_err("there is no such model");
    let answer = server.get("/metrics");
    let (_, page) = answer.split_once("\r\n\r\n").expect("a page");
    assert_eq!(documented(), served(page));
    server.goes_on_and_stops("m").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_the_page_is_read_whatever_folders_of_models_are_named() {
    let odd = "odd\"} 1\nname \\";
    let server = Served::start(&[("m", AUTO), (odd, AUTO)]).await;
    let answer = server.get("/metrics");
    let (_, page) = answer.split_once("\r\n\r\n").expect("a page");
    let escaped = "{model=\"odd\\\"} 1\\nname \\\\\"";
    assert!(page.contains(escaped), "{page}");
    for sample in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = sample.rsplit_once(' ').expect("a value");
        assert!(name.starts_with("perennial_"), "{sample}");
        assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{sample}");
    }
    server.goes_on_and_stops("m").await;
}
