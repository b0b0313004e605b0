//! Compiles the protocol files with protox: no protoc is needed.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
