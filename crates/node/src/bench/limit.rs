//! The bare loop: what remains when everything but verification and the disk is left out. Hash payload and header, check
//! the chain, one strict verification in 256 records, append, one fdatasync in 1,024 records of 300 bytes.

use std::{fs::File, io::Write as _, time::Instant};

use blake3::Hash;
use hutong_record::{Afresh, RUN_RECORDS_MAX, SigningKey, StatementKind};
use serde_json::{Value, json};

use super::{
    Plan,
    figures::{Series, rate},
    machine,
};

const RECORDS: usize = 200_000;
const HEADER_BYTES: usize = 170;
const PAYLOAD_BYTES: usize = 130;
const RECORDS_PER_SYNC: usize = 1_024;

/// Records as bytes, chained, with the signatures that cover them.
struct Log {
    headers: Vec<[u8; HEADER_BYTES]>,
    payloads: Vec<[u8; PAYLOAD_BYTES]>,
    signatures: Vec<[u8; 64]>,
}

pub(super) fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let key = SigningKey::from_seed(&[7; 32]);
    let log = write(&key);
    let mut rates = Series::default();
    for _ in 0..plan.runs {
        let file = File::create(plan.home.path().join("limit"))?;
        let start = Instant::now();
        take_in(&log, &key, file)?;
        rates.push(rate(RECORDS, start.elapsed()));
    }
    Ok(json!({
        "records": RECORDS,
        "record_bytes": HEADER_BYTES + PAYLOAD_BYTES,
        "records_per_s": rates.json(),
        "memory_peak_bytes": machine::memory_peak_bytes(),
    }))
}

fn write(key: &SigningKey) -> Log {
    let mut log = Log { headers: Vec::new(), payloads: Vec::new(), signatures: Vec::new() };
    let mut previous = blake3::hash(b"start");
    for n in 0..RECORDS {
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&n.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header[..32].copy_from_slice(previous.as_bytes());
        header[32..64].copy_from_slice(blake3::hash(&payload).as_bytes());
        previous = blake3::hash(&header);
        if (n + 1) % RUN_RECORDS_MAX == 0 || n + 1 == RECORDS {
            log.signatures.push(StatementKind::VoucherClaim.sign(key, &header));
        }
        log.headers.push(header);
        log.payloads.push(payload);
    }
    log
}

fn take_in(log: &Log, key: &SigningKey, mut file: File) -> anyhow::Result<()> {
    let mut previous: Hash = blake3::hash(b"start");
    let mut signatures = log.signatures.iter();
    let mut block = Vec::with_capacity(RECORDS_PER_SYNC * (HEADER_BYTES + PAYLOAD_BYTES));
    for (n, (header, payload)) in log.headers.iter().zip(&log.payloads).enumerate() {
        let chained =
            header[..32] == *previous.as_bytes() && header[32..64] == *blake3::hash(payload).as_bytes();
        anyhow::ensure!(chained, "record {n} does not fit the chain");
        previous = blake3::hash(header);
        if (n + 1) % RUN_RECORDS_MAX == 0 || n + 1 == RECORDS {
            let signature = signatures.next().ok_or_else(|| anyhow::anyhow!("a signature is missing"))?;
            StatementKind::VoucherClaim.verify(&Afresh, &key.public(), header, signature)?;
        }
        block.extend_from_slice(header);
        block.extend_from_slice(payload);
        if (n + 1) % RECORDS_PER_SYNC == 0 || n + 1 == RECORDS {
            file.write_all(&block)?;
            file.sync_data()?;
            block.clear();
        }
    }
    Ok(())
}
