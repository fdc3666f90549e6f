//! Golden files: what a test computes from fixed inputs is compared with what the repository holds, and what the
//! repository holds is given back to be decoded. `HUTONG_VECTORS=write` rewrites the files.
//!
//! Included by the `vectors` test of each crate that owns a format.
#![allow(dead_code, reason = "no crate uses all of it")]

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::Value;

/// One case of a file: named values, in the order in which they were given.
pub(crate) struct Case(Vec<(String, Value)>);

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        Self(Vec::new()).text("case", name)
    }

    #[must_use]
    pub(crate) fn text(mut self, name: &str, text: impl Into<String>) -> Self {
        self.0.push((name.into(), Value::String(text.into())));
        self
    }

    #[must_use]
    pub(crate) fn number(mut self, name: &str, number: impl Into<Value>) -> Self {
        self.0.push((name.into(), number.into()));
        self
    }

    #[must_use]
    pub(crate) fn hex(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.text(name, HEXLOWER.encode(bytes.as_ref()))
    }
}

/// A case as the repository holds it.
pub(crate) struct Stored(Value);

impl Stored {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("{name} is a text"))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_else(|| panic!("{name} is true or false"))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(name).as_bytes()).unwrap_or_else(|_| panic!("{name} is hex"))
    }
}

/// Compares a file with its cases, and gives it back as it is stored.
pub(crate) fn check(name: &str, cases: Vec<Case>) -> Vec<Stored> {
    let path = path(name);
    let fresh = render(&cases);
    if std::env::var("HUTONG_VECTORS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &fresh).expect("the vector file is written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        stored, fresh,
        "{name}: the bytes have changed, and so the protocol; see tests/vectors/README.md"
    );
    read(name)
}

/// A file as it is stored; for bytes that nothing makes any more.
pub(crate) fn read(name: &str) -> Vec<Stored> {
    let stored = std::fs::read_to_string(path(name)).unwrap_or_default();
    let Ok(Value::Array(cases)) = serde_json::from_str(&stored) else { panic!("{name} is a list") };
    cases.into_iter().map(Stored).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

fn render(cases: &[Case]) -> String {
    let line = |(name, value): &(String, Value)| format!("    {}: {value}", Value::from(name.as_str()));
    let case = |Case(lines): &Case| {
        format!("  {{\n{}\n  }}", lines.iter().map(line).collect::<Vec<_>>().join(",\n"))
    };
    format!("[\n{}\n]\n", cases.iter().map(case).collect::<Vec<_>>().join(",\n"))
}

/// "Random" bytes that anyone can make: 0, 1, 2, and so on.
pub(crate) struct Counting(u8);

impl Counting {
    pub(crate) fn from_zero() -> Self {
        Self(0)
    }
}

impl rand_core::TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counting {}
