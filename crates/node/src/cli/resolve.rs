//! From what people type to ids: a full id, the beginning of one, or a name.

use std::collections::BTreeSet;

use super::problem::Problem;

/// Hex digits of a full id.
const ID_CHARS: usize = 64;
/// The shortest beginning of an id; with fewer, half of all words would be one.
const PREFIX_CHARS_MIN: usize = 4;

/// Something with an id and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Hex.
    pub(crate) id: String,
    /// Empty where it has none.
    pub(crate) name: String,
}

/// The id itself, if the text is one. Nothing needs to be looked up then.
pub(crate) fn full_id(text: &str) -> Option<String> {
    (text.len() == ID_CHARS && is_hex(text)).then(|| text.to_ascii_lowercase())
}

/// The id of the one thing that the text names. A full id means itself, whatever names say; a text that is a name of
/// one and the beginning of another's id is ambiguous, so that nobody is paid or removed in another's stead.
pub(crate) fn resolve(kind: &'static str, text: &str, known: &[Named]) -> Result<String, Problem> {
    if let Some(id) = full_id(text) {
        return Ok(id);
    }
    let prefix = text.to_ascii_lowercase();
    let is_prefix = prefix.len() >= PREFIX_CHARS_MIN && is_hex(&prefix);
    let fits =
        |one: &&Named| (!text.is_empty() && one.name == text) || (is_prefix && one.id.starts_with(&prefix));
    let found: Vec<_> = known.iter().filter(fits).collect();
    let text = text.to_owned();
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(Problem::Unknown { kind, text, candidates: known.iter().map(label).collect() }),
        several => {
            Err(Problem::Ambiguous { kind, text, candidates: several.iter().map(|one| label(one)).collect() })
        }
    }
}

/// As [`resolve`], of what has ids alone. One that is listed several times is one.
fn resolve_id(
    kind: &'static str,
    text: &str,
    ids: impl IntoIterator<Item = String>,
) -> Result<String, Problem> {
    let ids: BTreeSet<_> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    let known: Vec<_> = ids.into_iter().map(|id| Named { id, name: String::new() }).collect();
    resolve(kind, text, &known)
}

/// As [`resolve_id`]; what there is is looked up only where the text is no id already.
pub(crate) async fn listed_id<T, E: Into<anyhow::Error>>(
    kind: &'static str,
    text: &str,
    list: impl Future<Output = Result<Vec<T>, E>>,
    id: impl Fn(T) -> String,
) -> anyhow::Result<String> {
    if let Some(id) = full_id(text) {
        return Ok(id);
    }
    let listed = list.await.map_err(Into::into)?;
    Ok(resolve_id(kind, text, listed.into_iter().map(id))?)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn label(one: &Named) -> String {
    let short = one.id.get(..8).unwrap_or(&one.id);
    if one.name.is_empty() { short.to_owned() } else { format!("{} {short}", one.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(start: &str, name: &str) -> Named {
        Named { id: format!("{start:0<64}"), name: name.to_owned() }
    }

    fn street() -> Vec<Named> {
        vec![
            named("abcd1", "张记包子"),
            named("abcd2", "茶馆"),
            named("ef01", "茶馆"),
            named("0123", "abcd1"),
        ]
    }

    #[test]
    fn a_unique_name_or_beginning_is_enough() {
        assert_eq!(resolve("shop", "张记包子", &street()).unwrap(), street()[0].id);
        assert_eq!(resolve("shop", "ABCD2", &street()).unwrap(), street()[1].id);
        assert_eq!(resolve("shop", "ef01", &street()).unwrap(), street()[2].id);
    }

    #[test]
    fn what_may_be_two_is_refused() {
        for text in ["茶馆", "abcd"] {
            assert!(matches!(resolve("shop", text, &street()), Err(Problem::Ambiguous { .. })), "{text}");
        }
        // One shop calls itself by the beginning of another's id.
        assert!(matches!(resolve("shop", "abcd1", &street()), Err(Problem::Ambiguous { .. })));
    }

    #[test]
    fn a_full_id_means_itself() {
        let mut street = street();
        let id = street[1].id.clone();
        street[0].name = id.clone();
        assert_eq!(resolve("shop", &id.to_uppercase(), &street).unwrap(), id);
        assert_eq!(resolve("shop", &"9".repeat(64), &[]).unwrap(), "9".repeat(64));
    }

    #[test]
    fn an_id_that_is_listed_twice_is_one() {
        let listed = || ["abcd1", "abcd1", "abef"].map(|start| named(start, "").id);
        let ids = || listed().into_iter().chain([String::new()]);
        assert_eq!(resolve_id("receipt", "abcd", ids()).unwrap(), named("abcd1", "").id);
        let unknown = resolve_id("receipt", "ffff", ids());
        assert!(matches!(unknown, Err(Problem::Unknown { candidates, .. }) if candidates.len() == 2));
    }

    #[test]
    fn what_nobody_is_called_is_refused() {
        for text in ["", "ab", "面馆", "ffff"] {
            assert!(matches!(resolve("shop", text, &street()), Err(Problem::Unknown { .. })), "{text}");
        }
        let nameless = [named("aaaa", "")];
        assert!(resolve("shop", "", &nameless).is_err());
    }
}
