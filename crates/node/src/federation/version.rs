//! Nodes tell each other which program they run, beside the calls and not in them: it decides nothing, and is for operators
//! alone. What decides is the protocol's version, in `Hello`.

use tonic::metadata::{MetadataMap, MetadataValue};

/// The name of the metadata.
const KEY: &str = "hutong-version";
/// The longest that is taken for a version.
const CHARS_MAX: usize = 32;

/// Adds this program's version.
pub(super) fn tell(metadata: &mut MetadataMap) {
    metadata.insert(KEY, MetadataValue::from_static(env!("CARGO_PKG_VERSION")));
}

/// The other side's version, if it tells one that can be shown.
pub(super) fn told(metadata: &MetadataMap) -> Option<String> {
    let text = metadata.get(KEY)?.to_str().ok()?;
    let sane = !text.is_empty()
        && text.len() <= CHARS_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    sane.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_and_nonsense_is_none() {
        let mut metadata = MetadataMap::new();
        assert_eq!(told(&metadata), None);
        tell(&mut metadata);
        assert_eq!(told(&metadata).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        for bad in ["", "1.0 <script>", &"9".repeat(CHARS_MAX + 1)] {
            metadata.insert(KEY, bad.parse().unwrap());
            assert_eq!(told(&metadata), None, "{bad}");
        }
    }
}
