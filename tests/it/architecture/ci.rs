//! The scripts of continuous integration name programs that are there.
//!
//! Invariant: a name is the word behind `--test` or `--bench`; a variable stands for the words of
//! its loop.

use super::root;

/// The words that a script gives these options, with the lines they stand in.
fn named(script: &str, option: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    let mut looped: Vec<(&str, Vec<&str>)> = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let line = line.trim();
        if let Some((variable, words)) = line
            .strip_prefix("for ")
            .and_then(|rest| rest.split_once(" in "))
        {
            let words = words.trim_end_matches("do").trim_end_matches([';', ' ']);
            looped.push((variable, words.split(' ').collect()));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[0] == option) {
            let name = pair[1].trim_matches('"');
            let values = match name.strip_prefix('$') {
                Some(variable) => {
                    let newest = looped.iter().rev().find(|(name, _)| *name == variable);
                    newest.map_or_else(|| vec![name], |(_, words)| words.clone())
                }
                None => vec![name],
            };
            named.extend(values.into_iter().map(|name| (index + 1, name.to_owned())));
        }
    }
    named
}

/// True if cargo finds the program of this name in this folder, by itself or by the manifest.
fn is_there(folder: &str, name: &str) -> bool {
    let folder = root().join(folder);
    folder.join(format!("{name}.rs")).is_file() || folder.join(name).join("main.rs").is_file()
}

#[test]
fn scripts_name_tests_and_benches_that_are_there() {
    let mut missing = Vec::new();
    let mut n_named = 0;
    for script in std::fs::read_dir(root().join(".ci")).unwrap() {
        let path = script.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        for (option, folder) in [("--test", "tests"), ("--bench", "benches")] {
            for (line, name) in named(&script, option) {
                n_named += 1;
                if !is_there(folder, &name) {
                    missing.push(format!("{}:{line}: {option} {name}", path.display()));
                }
            }
        }
    }
    assert!(n_named > 0, "no script names a program");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn names_are_found_in_scripts() {
    let check = |script: &str, expected: &[(usize, &str)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, name)| (*line, (*name).to_owned()))
            .collect();
        assert_eq!(named(script, "--bench"), expected, "{script}");
    };
    check("cargo bench --bench learn -- --quick", &[(1, "learn")]);
    check("cargo test --test it", &[]);
    let looped = "for bench in a b; do\n    cargo bench --bench \"$bench\"\ndone";
    check(looped, &[(2, "a"), (2, "b")]);
    check("cargo bench --bench $unknown", &[(1, "$unknown")]);
}
