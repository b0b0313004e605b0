//! Generated messages and services; they stop in `server/wire`.

/// The Open Inference Protocol, version 2.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// Feedback and versions.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod perennial {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("perennial.v1");
    }
}

/// Every message and service, encoded, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
