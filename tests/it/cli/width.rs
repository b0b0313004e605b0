//! Output fits a terminal of 80 columns.

use crate::support::server::{Server, run};
use crate::support::{AUTO, Workspace};

const COLUMNS: usize = 80;

fn check_width(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
}

#[test]
fn the_demo_fits_80_columns() {
    let (shown, notes) = run(&["demo"], 0);
    check_width(&shown);
    check_width(&notes);
    assert!(shown.contains("before the drift"), "{shown}");
}

#[test]
fn versions_fit_80_columns_whatever_their_notes() {
    let workspace = Workspace::new(&[("m", AUTO)]);
    let server = Server::start(&workspace.models(), &workspace.data());
    server.ask(&["checkpoint", "m", "--note", &"a long note ".repeat(20)]);
    let (lines, header) = run(&["versions", "m", "--server", &server.address], 0);
    assert_eq!(lines.lines().count(), 2);
    check_width(&lines);
    check_width(&header);
    server.stop();
}
