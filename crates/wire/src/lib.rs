//! Hutong's gRPC messages, generated from `proto/`.

/// What a shop's tills, apps and operators say to its node.
pub mod merchant {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    pub mod v1 {
        include!("generated/hutong.merchant.v1.rs");
    }
}
