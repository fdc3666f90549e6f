//! Hutong's gRPC messages and services as generated from `proto/`, their conversions, and the one map from refusals to
//! status codes. Servers and clients are built on it; nothing here decides anything.

pub mod frame;
pub mod status;
pub mod trade;

/// What tills, apps and operators say to their node.
pub mod merchant {
    /// `hutong.merchant.v1`.
    #[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unwrap_used)]
    #[rustfmt::skip]
    pub mod v1 {
        include!("generated/hutong.merchant.v1.rs");
    }
}

/// What nodes say to each other.
pub mod peer {
    /// `hutong.peer.v1`.
    #[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unwrap_used)]
    #[rustfmt::skip]
    pub mod v1 {
        include!("generated/hutong.peer.v1.rs");
    }
}

/// All protos as a `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");
