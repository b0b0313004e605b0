//! The modules of a room and the paths between them: which folder may use which, and no circles.
//!
//! Invariant: a module uses another where its code names a path into it; one that is the parent of
//! others uses these. Modules of tests alone do not count. Where the methods of one type lie in
//! several files, the children that have some of them use their parent, and each is listed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, check, sources};

/// The folders of the engine, from left to right: each uses itself and those before it.
const ENGINE: [&str; 7] = [
    "error", "compute", "versions", "history", "host", "flows", "offline",
];
/// The rooms whose modules form no circle but those of [`TYPES_IN_SEVERAL_FILES`].
const WITHOUT_CIRCLES: [&str; 8] = [
    "cli", "engine", "event", "learn", "model", "onnx", "server", "store",
];
/// Types with methods in several files, each with the module that has it and all children of that
/// module that use their parent. A child reads the private fields of the type, which is why it is a
/// child: another order of the files would have to open the fields to the whole room.
const TYPES_IN_SEVERAL_FILES: [(&str, &str, &[&str]); 8] = [
    (
        "learn::algorithms::analytic::recursion",
        "Recursion",
        &["block", "saved"],
    ),
    (
        "learn::algorithms::auto",
        "AutoLearner",
        &["amend", "linear_members", "saved", "weighing"],
    ),
    ("learn::algorithms::gradient", "GradientLearner", &["amend"]),
    (
        "learn::algorithms::learned",
        "Learned",
        &["amend", "answers", "relearning", "rows", "saved"],
    ),
    ("learn::gate::champion", "Gate", &["raised", "saved"]),
    ("learn::join", "PendingPredictions", &["saved"]),
    (
        "learn::learner",
        "Learner",
        &[
            "answering",
            "budget",
            "counterfactual",
            "drift",
            "feedback",
            "gap",
            "gate",
            "labels",
            "monitors",
            "quarantine",
            "relabel",
            "retrain",
            "rewards",
            "silence",
            "state",
            "versions",
            "veto",
            "windows",
        ],
    ),
    ("server::webhook", "Webhook", &["attempt"]),
];

/// Each module with the modules that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The path of a file's module: `src/engine/host/mod.rs` is `engine::host`.
fn module(file: &Source) -> String {
    let path = file.path.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

/// The paths that a line names, from the root of the crate, for a line of this module.
fn paths(line: &str, module: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    // A visibility uses nothing.
    let line = line.replace("pub(in crate::", "pub(");
    let words = line.split(|c: char| !is_path(c));
    let from_root = words.filter_map(|word| {
        let mut parts: Vec<&str> = word.split("::").filter(|part| !part.is_empty()).collect();
        let mut from: Vec<&str> = match parts.first() {
            Some(&"crate") => Vec::new(),
            Some(&"self" | &"super") => module.split("::").collect(),
            _ => return None,
        };
        while let Some(&first) = parts.first() {
            match first {
                "crate" | "self" => drop(parts.remove(0)),
                "super" => {
                    parts.remove(0);
                    from.pop();
                }
                _ => break,
            }
        }
        // A value named `self` or a visibility is no path.
        let named = word.contains("::") && !(from.is_empty() && parts.is_empty());
        named.then(|| [from, parts].concat().join("::"))
    });
    from_root.collect()
}

/// The module that a path leads into: the longest one that it begins with.
fn target<'a>(path: &str, modules: &'a BTreeSet<String>) -> Option<&'a String> {
    let mut path = path;
    loop {
        if let Some(found) = modules.get(path) {
            return Some(found);
        }
        path = path.rsplit_once("::")?.0;
    }
}

fn used(file: &Source, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let own = module(file);
    let code = file
        .code()
        .take_while(|(number, _)| *number <= file.n_untested());
    let paths = code.flat_map(|(_, line)| paths(line, &own));
    let mut used: BTreeSet<String> = paths
        .filter_map(|path| target(&path, modules).cloned())
        .collect();
    let child = |other: &&String| other.rsplit_once("::").is_some_and(|(up, _)| up == own);
    used.extend(modules.iter().filter(child).cloned());
    used.remove(&own);
    used
}

fn graph(files: &[Source]) -> Graph {
    let untested = || files.iter().filter(|file| !file.of_tests);
    let modules: BTreeSet<String> = untested().map(module).collect();
    untested()
        .map(|file| (module(file), used(file, &modules)))
        .collect()
}

/// The modules that are reached from one over at least one step.
fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![from.to_owned()];
    while let Some(next) = left.pop() {
        for used in graph.get(&next).into_iter().flatten() {
            if found.insert(used.clone()) {
                left.push(used.clone());
            }
        }
    }
    found
}

/// Each set of modules of which every one is reached from every other.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let all: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|one| (one, reached(graph, one))).collect();
    let circle = |(one, reached): (&&String, &BTreeSet<String>)| {
        let back = |other: &&String| all.get(other).is_some_and(|it| it.contains(*one));
        let circle: BTreeSet<String> = reached.iter().filter(back).cloned().collect();
        (!circle.is_empty()).then_some(circle)
    };
    all.iter().filter_map(circle).collect()
}

#[test]
fn a_folder_of_the_engine_uses_itself_and_folders_to_its_left() {
    let files = sources(&["src"]);
    let graph = graph(&files);
    let folder = |module: &str| {
        let inner = module.strip_prefix("engine::")?;
        ENGINE
            .iter()
            .position(|name| Some(*name) == inner.split("::").next())
    };
    check("the engine's folders", &files, |file| {
        let own = module(file);
        let Some(place) = folder(&own) else {
            let inner = own.strip_prefix("engine::");
            let unknown = inner.map(|inner| (1, format!("{inner} is no folder of the engine")));
            return unknown.into_iter().collect();
        };
        let used = graph.get(&own).into_iter().flatten();
        let around = used.filter(|other| match folder(other) {
            Some(other) => other > place,
            None => *other == "engine",
        });
        around.map(|other| (1, format!("uses {other}"))).collect()
    });
}

/// The part of a graph that lies in a room.
fn within(graph: &Graph, room: &str) -> Graph {
    let is_within = |module: &str| {
        let inner = module.strip_prefix(room);
        inner.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let mut graph = graph.clone();
    graph.retain(|module, _| is_within(module));
    graph
}

/// The children of modules that use their parents, taken out of the graph: `child -> parent`.
fn take_parents(graph: &mut Graph) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for (module, used) in graph {
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        if used.remove(parent) {
            taken.insert(module.clone());
        }
    }
    taken
}

#[test]
fn no_modules_form_a_circle() {
    let all = graph(&sources(&["src"]));
    let mut using_parents = BTreeSet::new();
    for room in WITHOUT_CIRCLES {
        let mut graph = within(&all, room);
        assert!(graph.len() > 1, "{room}: no module was read");
        using_parents.extend(take_parents(&mut graph));
        let circles = circles(&graph);
        assert!(circles.is_empty(), "{room}: {circles:#?}");
    }
    let listed = TYPES_IN_SEVERAL_FILES.iter();
    let listed = listed.flat_map(|(parent, _, children)| {
        let children = children.iter();
        children.map(move |child| format!("{parent}::{child}"))
    });
    let listed: BTreeSet<String> = listed.collect();
    let unlisted: Vec<&String> = using_parents.difference(&listed).collect();
    assert!(unlisted.is_empty(), "they use their parents: {unlisted:?}");
    let idle: Vec<&String> = listed.difference(&using_parents).collect();
    assert!(idle.is_empty(), "they do not use their parents: {idle:?}");
}

#[test]
fn a_child_that_uses_its_parent_has_methods_of_the_type_there() {
    let files = sources(&["src"]);
    for (parent, name, children) in TYPES_IN_SEVERAL_FILES {
        let file = |path: &str| files.iter().find(|file| module(file) == path);
        let has = |path: &str, start: &str| {
            let file = file(path).unwrap_or_else(|| panic!("{path}: no such module"));
            let mut code = file.code();
            code.any(|(_, line)| line.contains(start))
        };
        assert!(has(parent, &format!("struct {name} {{")), "{parent}");
        for child in children {
            let child = format!("{parent}::{child}");
            assert!(has(&child, &format!("impl {name} {{")), "{child}");
        }
    }
}

#[test]
fn paths_are_read_from_the_root() {
    let check = |line: &str, expected: &[&str]| {
        assert_eq!(paths(line, "engine::host::room"), expected, "{line}");
    };
    check(
        "use crate::engine::error::Error;",
        &["engine::error::Error"],
    );
    check("use super::runtime::{A, B};", &["engine::host::runtime"]);
    check("use super::super::flows::B;", &["engine::flows::B"]);
    check(
        "let x = self::helper(crate::x::Y);",
        &["engine::host::room::helper", "x::Y"],
    );
    check("pub(crate) fn a(&self) -> Self { self.b }", &[]);
    check("pub(in crate::engine) fn a()", &[]);
    check("use std::sync::Arc;", &[]);
}

#[test]
fn circles_are_found_whole() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            let used = graph.entry((*from).to_owned()).or_default();
            used.insert((*to).to_owned());
        }
        graph
    };
    let line = graph(&[("a", "b"), ("b", "c"), ("a", "c")]);
    assert!(circles(&line).is_empty());
    let round = graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "e"), ("e", "d")]);
    let expected = [["b", "c"], ["d", "e"]].map(|circle| circle.map(str::to_owned).into());
    assert_eq!(circles(&round), expected.into());
    let mut family = graph(&[("a", "a::b"), ("a::b", "a"), ("a::b", "c"), ("c", "a")]);
    assert_eq!(take_parents(&mut family), ["a::b".to_owned()].into());
    let expected = ["a", "a::b", "c"].map(str::to_owned);
    assert_eq!(circles(&family), [expected.into()].into());
}
