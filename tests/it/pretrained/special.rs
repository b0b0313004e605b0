//! Special files in the place of a model.toml or a file that it names, and the copies kept of such files.
//!
//! Invariant: nobody waits for it and nobody reads it; a sentence names it, and the other model
//! goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use perennial::engine::{Readiness, describe};

use crate::support::Workspace;
use crate::support::bert::Bert;
use crate::support::server::{run, text};
use crate::support::special::{ALL, each};

fn texts(encoder: &str) -> String {
    format!(
        "task = \"classification\"\nclasses = [\"a\", \"b\"]\n[[input]]\nname = \"text\"\n\
         kind = \"text\"\nencoder = \"{encoder}\"\n"
    )
}

/// A house with the weights of `net` and three encoders: in the model's folder, among the models, and
/// beside them.
fn workspace() -> Workspace {
    let workspace =
        crate::pretrained::workspace(crate::pretrained::TOML, &crate::pretrained::state());
    workspace.describe("inner", &texts("bert"));
    workspace.describe("above", &texts("../shared/bert"));
    workspace.describe("away", &texts("../../bert"));
    let vectors = "task = \"regression\"\n[[input]]\nname = \"v\"\nkind = \"vector\"\nlength = 3\n\
                   encoder = \"trunk.onnx\"\n";
    workspace.describe("vectors", vectors);
    for folder in ["models/inner/bert", "models/shared/bert", "bert"] {
        Bert::new().write(&workspace.data().with_file_name(folder));
    }
    workspace
}

/// A model of this house is not served, for this reason; another is.
fn refused(workspace: &Workspace, model: &str, words: &[&str]) {
    let engine = workspace.open();
    let Readiness::Unavailable(reason) = engine.model(model).unwrap().status(false).state else {
        panic!("{model} cannot be served: {words:?}")
    };
    for word in words {
        assert!(reason.contains(word), "{word:?} in {reason:?}");
    }
    assert!(!reason.contains('\n'), "{reason}");
    let other = engine.model("other").unwrap();
    assert_eq!(other.status(false).state, Readiness::Ready);
}

#[test]
fn p9_what_is_no_description_or_is_named_by_one_is_refused_unread() {
    let workspace = workspace();
    let models = workspace.models();
    for (model, file) in [
        ("net", "model.toml"),
        ("net", "net.safetensors"),
        ("vectors", "trunk.onnx"),
        ("inner", "bert/config.json"),
        ("inner", "bert/tokenizer.json"),
        ("inner", "bert/sentence_bert_config.json"),
        ("inner", "bert/model.safetensors"),
        ("above", "../shared/bert/tokenizer.json"),
        ("away", "../../bert/config.json"),
        ("away", "../../bert/model.safetensors"),
    ] {
        let path = models.join(model).join(file);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        each(&path, &ALL, |special| {
            refused(&workspace, model, &[&name, special.words()]);
            let described = describe(&models.join(model).join("model.toml"));
            let error = described.unwrap_err().to_string();
            assert!(error.contains(special.words()), "{error}");
        });
    }
    // An encoder that is no folder, and a network of which only the graph is there.
    let onnx = models.join("inner/bert/model.onnx");
    fs::remove_file(models.join("inner/bert/model.safetensors")).unwrap();
    each(&onnx, &ALL, |special| {
        refused(&workspace, "inner", &["model.onnx", special.words()]);
    });
}

#[test]
fn p9_links_of_models_are_followed_among_the_models() {
    let workspace = workspace();
    let (models, root) = (workspace.models(), workspace.data().with_file_name("root"));
    let ready = |model: &str| {
        let engine = workspace.open();
        let state = engine.model(model).unwrap().status(false).state;
        assert_eq!(state, Readiness::Ready, "{model}");
    };
    ready("inner");
    // The folder of an encoder, a file of it, and that of a model, each elsewhere in the models.
    let link = |target: &Path, place: &Path| {
        fs::rename(place, target).unwrap();
        symlink(target, place).unwrap();
    };
    fs::create_dir(models.join("kept")).unwrap();
    link(&models.join("kept/bert"), &models.join("inner/bert"));
    link(
        &models.join("kept/weights"),
        &models.join("kept/bert/model.safetensors"),
    );
    link(&models.join("kept/inner"), &models.join("inner"));
    ready("inner");
    // Outside of them: as it is named it may be anywhere, by a link it may not.
    let outside = workspace.data().with_file_name("outside");
    link(&outside, &workspace.data().with_file_name("bert"));
    ready("away");
    fs::rename(models.join("kept/inner"), &root).unwrap();
    fs::remove_file(models.join("inner")).unwrap();
    symlink(&root, models.join("inner")).unwrap();
    refused(
        &workspace,
        "inner",
        &["inner/model.toml", "a link leads to "],
    );
    // One that leads nowhere is reported, too.
    fs::remove_dir_all(&root).unwrap();
    refused(&workspace, "inner", &["inner/model.toml", "No such file"]);
}

/// The only folder in one.
fn only(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[test]
fn p9_what_is_kept_of_a_start_is_refused_unread() {
    let workspace = workspace();
    let learns = "adapters = { rank = 2, layers = 1 }\n[learner]\nkind = \"gradient\"\n";
    workspace.describe("inner", &(texts("bert") + learns));
    workspace.open().close();
    for model in ["net", "inner"] {
        fs::remove_dir_all(workspace.data().join(model).join("checkpoints")).unwrap();
    }
    let encoder = only(&workspace.data().join("inner/encoders"));
    let start = workspace.data().join("net/start.safetensors");
    let verify = || {
        let (models, data) = (workspace.models(), workspace.data());
        let args = ["verify", "--data", text(&data), "--models", text(&models)];
        let (stdout, stderr) = run(&args, 1);
        stdout + &stderr
    };
    for (model, path) in [
        ("net", start),
        ("inner", encoder.join("config.json")),
        ("inner", encoder.join("tokenizer.json")),
        ("inner", encoder.join("model.safetensors")),
    ] {
        each(&path, &ALL, |special| {
            let found = verify();
            assert!(found.contains(&format!("{model}: damaged: ")), "{found}");
            assert!(found.contains(special.words()), "{found}");
        });
    }
}
