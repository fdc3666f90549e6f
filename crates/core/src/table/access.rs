//! Typed reading and writing: what every table is read and written by.

use alloc::{format, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};

use crate::view::{Overlay, Reader, ViewError};

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("view values are plain data of bounded size")
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, ViewError> {
    let table = key.first().copied().unwrap_or_default();
    postcard::from_bytes(value).map_err(|e| ViewError::Damaged(format!("table {table:#04x}: {e}")))
}

/// Reads a typed value.
pub(crate) fn read<T: DeserializeOwned>(
    view: &(impl Reader + ?Sized),
    key: &[u8],
) -> Result<Option<T>, ViewError> {
    view.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// Writes a typed value.
pub(crate) fn write<R: Reader + ?Sized, T: Serialize>(view: &mut Overlay<'_, R>, key: Vec<u8>, value: &T) {
    view.put(key, encode(value));
}

/// Adds one to a counter.
pub(crate) fn count<R: Reader + ?Sized>(view: &mut Overlay<'_, R>, key: Vec<u8>) -> Result<(), ViewError> {
    add(view, key, 1)
}

/// Adds to a counter, never below zero.
pub(crate) fn add<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    key: Vec<u8>,
    change: i64,
) -> Result<(), ViewError> {
    let before: u64 = read(view, &key)?.unwrap_or_default();
    write(view, key, &before.saturating_add_signed(change));
    Ok(())
}

/// Visits the entries below a prefix, or those that come after a key, until `visit` says no or fails.
pub(crate) fn walk(
    view: &(impl Reader + ?Sized),
    prefix: &[u8],
    after: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, ViewError>,
) -> Result<(), ViewError> {
    let mut failed = None;
    view.scan(prefix, after, &mut |key, value| {
        visit(key, value).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    })?;
    failed.map_or(Ok(()), Err)
}

/// Collects what `parse` makes of the entries below a prefix.
pub(crate) fn collect<T>(
    view: &(impl Reader + ?Sized),
    prefix: &[u8],
    mut parse: impl FnMut(&[u8], &[u8]) -> Result<T, ViewError>,
) -> Result<Vec<T>, ViewError> {
    let mut found = Vec::new();
    walk(view, prefix, None, |key, value| {
        found.push(parse(key, value)?);
        Ok(true)
    })?;
    Ok(found)
}

/// Collects what `parse` makes of the entries below a prefix that come after a key, until it says none.
pub(crate) fn collect_while<T>(
    view: &(impl Reader + ?Sized),
    prefix: &[u8],
    after: &[u8],
    mut parse: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, ViewError>,
) -> Result<Vec<T>, ViewError> {
    let mut found = Vec::new();
    walk(view, prefix, Some(after), |key, value| {
        let item = parse(key, value)?;
        let more = item.is_some();
        found.extend(item);
        Ok(more)
    })?;
    Ok(found)
}
