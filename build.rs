//! Compiles the protocol files with protox (no protoc is needed), and names the commit that is built.

use std::path::PathBuf;
use std::process::Command;

use prost::Message;

/// The commit that is built, as "+" and its first twelve digits; empty outside a git checkout.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    // It is appended to with every commit, checkout and reset.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    // A checkout that holds this folder as a part of something else is not this program's.
    let own = git(&["rev-parse", "--show-prefix"]).is_none()
        && git(&["rev-parse", "--git-dir"]).is_some();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| own);
    commit.map_or_else(String::new, |commit| format!("+{commit}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rustc-env=PERENNIAL_COMMIT={}", commit());
    let files = ["proto/open_inference.proto", "proto/perennial.proto"];
    for file in files.into_iter().chain(["proto/onnx.proto"]) {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // For reflection.
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Raw tensors are slices of the received message, not copies of it.
        .bytes(".inference")
        .bytes(".perennial.v1.Tensor")
        .compile_fds(descriptors)?;
    // A file format, no service: it is not reflected.
    tonic_prost_build::configure()
        // Weights are slices of the file that was read.
        .bytes(".onnx")
        .compile_fds(protox::compile(["proto/onnx.proto"], ["proto"])?)?;
    Ok(())
}
