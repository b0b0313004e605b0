//! docs/wire.md beside proto/perennial.proto.
//!
//! Invariant: the document names every RPC and every field of a request.

use std::collections::BTreeSet;

use super::root;

/// The names of the RPCs, and of the fields in messages whose names end in `Request`.
fn names(proto: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut is_in_request = false;
    for line in proto.lines().map(str::trim) {
        let words: Vec<&str> = line.split([' ', '(']).collect();
        match words[..] {
            ["rpc", name, ..] => {
                names.insert(name);
            }
            ["message", name, "{"] => is_in_request = name.ends_with("Request"),
            ["}", ..] => is_in_request = false,
            [.., name, "=", number] if is_in_request && number.ends_with(';') => {
                names.insert(name);
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_document_names_every_rpc_and_every_field_of_a_request() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (proto, document) = (read("proto/perennial.proto"), read("docs/wire.md"));
    let names = names(&proto);
    for known in [
        "StreamFeedback",
        "Status",
        "preferred_over",
        "tags",
        "dry_run",
    ] {
        assert!(names.contains(known), "{known} was not read");
    }
    let is_missing = |name: &&&str| !document.contains(&format!("`{name}`"));
    let missing: Vec<&&str> = names.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "docs/wire.md names no {missing:?}");
}
