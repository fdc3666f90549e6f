//! Field masks (AIP-157 and AIP-134): which fields of a message a caller wants to see, or to change. Paths are checked
//! against the descriptors of the protos, so that a slip is named rather than taken for an empty answer.

use std::{collections::BTreeMap, sync::LazyLock};

use hutong_core::refusal::Refusal;
use hutong_wire::FILE_DESCRIPTOR_SET;
use prost::{
    DecodeError, Message,
    bytes::Buf as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};
use prost_types::{
    FieldMask, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use crate::alliance::internal;

/// Every field of the largest message, twice over.
const PATHS_MAX: usize = 64;
/// Messages lie three deep in each other at most.
const PATH_BYTES_MAX: usize = 160;

/// Messages by full name, their fields by name.
static FIELDS: LazyLock<BTreeMap<String, BTreeMap<String, Field>>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the program's own descriptors decode");
    let mut messages = BTreeMap::new();
    for file in set.file {
        for message in file.message_type {
            let name = format!("{}.{}", file.package.as_deref().unwrap_or_default(), message.name());
            let field = |field: prost_types::FieldDescriptorProto| {
                let message = field.type_name().trim_start_matches('.').to_owned();
                let message = (field.r#type() == Type::Message).then_some(message);
                let repeated = field.label() == Label::Repeated;
                let number = u32::try_from(field.number()).unwrap_or_default();
                (field.name().to_owned(), Field { number, message, repeated })
            };
            messages.insert(name, message.field.into_iter().map(field).collect());
        }
    }
    messages
});

/// What a path can name.
#[derive(Debug)]
struct Field {
    number: u32,
    /// Full name of the message that it holds, if it holds one.
    message: Option<String>,
    repeated: bool,
}

/// What a caller wants to see of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mask {
    /// Everything.
    Whole,
    /// These fields, by their numbers, and what of each.
    Parts(BTreeMap<u32, Mask>),
}

impl Mask {
    /// Reads a `read_mask` over a message of the merchant API, named without its package. None, an empty one and `*` are
    /// for everything.
    ///
    /// # Errors
    /// `FIELD_INVALID` of `read_mask`, with the path that is wrong.
    pub(super) fn read(mask: Option<&FieldMask>, message: &str) -> Result<Self, Refusal> {
        let paths = paths("read_mask", mask)?;
        if paths.is_empty() || paths.iter().any(|path| path == "*") {
            return Ok(Self::Whole);
        }
        let mut parts = BTreeMap::new();
        let message = format!("hutong.merchant.v1.{message}");
        for path in paths {
            add(&mut parts, &message, path).map_err(|why| Refusal::field("read_mask", why))?;
        }
        Ok(Self::Parts(parts))
    }

    /// A message with nothing but what is wanted.
    ///
    /// # Errors
    /// `INTERNAL`: what was encoded just now does not decode.
    pub(super) fn keep<M: Message + Default>(&self, message: M) -> Result<M, Refusal> {
        let Self::Parts(parts) = self else { return Ok(message) };
        let mut kept = Vec::new();
        keep(parts, &message.encode_to_vec(), &mut kept).map_err(|error| internal(&error))?;
        M::decode(kept.as_slice()).map_err(|error| internal(&error))
    }
}

/// Reads an `update_mask` over fields that can be changed. None, an empty one and `*` are for all of them.
///
/// # Errors
/// `FIELD_INVALID` of `update_mask`, with the path that is wrong.
pub(super) fn update<'a>(mask: Option<&FieldMask>, fields: &[&'a str]) -> Result<Vec<&'a str>, Refusal> {
    let paths = paths("update_mask", mask)?;
    if paths.is_empty() || paths.iter().any(|path| path == "*") {
        return Ok(fields.to_vec());
    }
    let field = |path: &String| {
        let found = fields.iter().copied().find(|field| field == path);
        let wrong = || format!("`{path}` cannot be changed: {} can", fields.join(", "));
        found.ok_or_else(|| Refusal::field("update_mask", wrong()))
    };
    paths.iter().map(field).collect()
}

fn paths<'a>(field: &str, mask: Option<&'a FieldMask>) -> Result<&'a [String], Refusal> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths);
    if paths.len() > PATHS_MAX || paths.iter().any(|path| path.len() > PATH_BYTES_MAX) {
        let why = format!("has more than {PATHS_MAX} paths, or one of more than {PATH_BYTES_MAX} bytes");
        return Err(Refusal::field(field, why));
    }
    Ok(paths)
}

/// Adds a path to what is wanted of a message. The error is why it names nothing.
fn add(parts: &mut BTreeMap<u32, Mask>, message: &str, path: &str) -> Result<(), String> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let short = message.rsplit('.').next().unwrap_or(message);
    let fields =
        FIELDS.get(message).ok_or_else(|| format!("`{path}`: {short} is not to be seen in parts"))?;
    let field = fields.get(name).ok_or_else(|| {
        let all: Vec<_> = fields.keys().map(String::as_str).collect();
        format!("`{name}` is no field of {short}: it has {}", all.join(", "))
    })?;
    let Some(rest) = rest else {
        parts.insert(field.number, Mask::Whole);
        return Ok(());
    };
    let inner = match &field.message {
        Some(inner) if !field.repeated => inner,
        Some(_) => return Err(format!("`{name}` is a list: it can be named as a whole alone")),
        None => return Err(format!("`{name}` has no fields within it")),
    };
    match parts.entry(field.number).or_insert_with(|| Mask::Parts(BTreeMap::new())) {
        Mask::Whole => add(&mut BTreeMap::new(), inner, rest),
        Mask::Parts(parts) => add(parts, inner, rest),
    }
}

/// Copies the wanted fields of an encoded message.
fn keep(parts: &BTreeMap<u32, Mask>, mut rest: &[u8], kept: &mut Vec<u8>) -> Result<(), DecodeError> {
    while rest.has_remaining() {
        let field = rest;
        let (number, wire_type) = decode_key(&mut rest)?;
        let mut value = rest;
        skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
        match parts.get(&number) {
            None => {}
            Some(Mask::Parts(parts)) if wire_type == WireType::LengthDelimited => {
                // The field was skipped in whole, so its length is within it.
                decode_varint(&mut value)?;
                let mut inner = Vec::new();
                keep(parts, &value[..value.len() - rest.len()], &mut inner)?;
                encode_key(number, wire_type, kept);
                encode_varint(inner.len() as u64, kept);
                kept.extend(inner);
            }
            Some(_) => kept.extend_from_slice(&field[..field.len() - rest.len()]),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hutong_wire::merchant::v1::{Distributor, Money, Promotion};
    use prost_types::Timestamp;

    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    fn promotion() -> Promotion {
        Promotion {
            id: "07".into(),
            title: "请你吃水果".into(),
            distributors: vec![Distributor { quota: 3, ..Default::default() }; 2],
            budget: Some(Money { currency_code: "CNY".into(), minor: 40_000 }),
            start_time: Some(Timestamp { seconds: 1, nanos: 2 }),
            per_card_max: 300,
            card_required: true,
            ..Default::default()
        }
    }

    fn seen(paths: &[&str]) -> Promotion {
        Mask::read(Some(&mask(paths)), "Promotion").unwrap().keep(promotion()).unwrap()
    }

    #[test]
    fn what_is_named_is_seen_and_nothing_else() {
        let whole = promotion();
        assert_eq!(
            seen(&["id", "distributors"]),
            Promotion {
                id: whole.id.clone(),
                distributors: whole.distributors.clone(),
                ..Default::default()
            }
        );
        assert_eq!(
            seen(&["budget.minor", "start_time"]),
            Promotion {
                budget: Some(Money { minor: 40_000, ..Default::default() }),
                start_time: whole.start_time,
                ..Default::default()
            }
        );
        // A field that is named whole stays whole, in whatever order its parts are named.
        let money = Promotion { budget: whole.budget.clone(), ..Default::default() };
        assert_eq!(
            (seen(&["budget", "budget.minor"]), seen(&["budget.minor", "budget"])),
            (money.clone(), money)
        );
        assert_eq!(seen(&["bounty", "bounty.minor"]), Promotion::default(), "what is not there stays away");
        for everything in [None, Some(mask(&[])), Some(mask(&["*"])), Some(mask(&["id", "*"]))] {
            let read = Mask::read(everything.as_ref(), "Promotion").unwrap();
            assert_eq!(read.keep(promotion()).unwrap(), whole);
        }
    }

    #[test]
    fn paths_that_name_nothing_are_refused_and_named() {
        let many = vec!["id"; PATHS_MAX + 1];
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        for (bad, why) in [
            (&["titel"][..], "`titel` is no field of Promotion"),
            (&["id", ""], "`` is no field"),
            (&["budget.cents"], "`cents` is no field of Money"),
            (&["budget", "budget.cents"], "`cents` is no field of Money"),
            (&["distributors.quota"], "`distributors` is a list"),
            (&["title.length"], "`title` has no fields"),
            (&["budget."], "`` is no field of Money"),
            (&many, "more than 64 paths"),
            (&[&long], "more than 64 paths"),
        ] {
            let refusal = Mask::read(Some(&mask(bad)), "Promotion").unwrap_err();
            assert_eq!(refusal.fact("field"), Some("read_mask"), "{bad:?}");
            assert!(refusal.to_string().contains(why), "{bad:?}: {refusal}");
        }
    }

    #[test]
    fn an_update_mask_names_what_can_be_changed() {
        let fields = ["name", "category"];
        assert_eq!(update(None, &fields).unwrap(), fields);
        assert_eq!(update(Some(&mask(&["*"])), &fields).unwrap(), fields);
        assert_eq!(update(Some(&mask(&["category"])), &fields).unwrap(), ["category"]);
        let refusal = update(Some(&mask(&["category", "addresses"])), &fields).unwrap_err();
        assert_eq!(refusal.fact("field"), Some("update_mask"));
        assert!(refusal.to_string().contains("`addresses` cannot be changed"), "{refusal}");
    }

    /// A name that is not in the descriptors would make every mask over it an error.
    #[test]
    fn every_message_that_is_seen_in_parts_is_known() {
        for name in ["Voucher", "Promotion", "Alliance", "Member"] {
            assert!(FIELDS.contains_key(&format!("hutong.merchant.v1.{name}")), "{name}");
        }
    }
}
