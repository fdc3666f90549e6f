//! The versions that the programs were built with.

/// The version of a package by this package's lock file; `?` for one that is not in it.
pub fn locked_version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = include_str!("../Cargo.lock").lines().skip_while(|line| **line != name).skip(1);
    lines
        .next()
        .and_then(|line| line.strip_prefix("version = \""))
        .and_then(|line| line.strip_suffix('"'))
        .unwrap_or("?")
}
