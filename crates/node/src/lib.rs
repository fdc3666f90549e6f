//! The Hutong node as a library: what the `hutong` binary is made of.

pub mod demo;
