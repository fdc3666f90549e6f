//! The Hutong node: what turns the libraries below it into a running shop.

pub mod transport;
