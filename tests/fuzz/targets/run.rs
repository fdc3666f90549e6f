//! A run of records parses, verifies or is refused; a record that parses travels on unchanged.
#![no_main]

use std::sync::LazyLock;

use hutong_record::{Record, SigningKey, proto, verify_run};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// The author of the golden run in `tests/vectors`.
static AUTHOR: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(&[1; 32]));

fuzz_target!(|bytes: &[u8]| {
    let Ok(run) = proto::Run::decode(bytes) else { return };
    let mut records = Vec::new();
    for message in run.records {
        let Ok(record) = Record::parse(message.clone()) else { return };
        assert_eq!(record.to_message(), message);
        records.push(record);
    }
    if let Ok(run) = verify_run(records, &AUTHOR.public()) {
        assert!(run.records().last().is_some_and(|record| record.id() == run.head()));
    }
});
