//! The generated code in the repository is what the protos give. `HUTONG_CODEGEN=write cargo test -p hutong-wire
//! --test codegen` brings it up to date; building the product needs no proto compiler.

use std::path::{Path, PathBuf};

use prost::Message;

/// Where each package's code lives, relative to `crates/`.
const HOMES: [(&str, &str); 3] = [
    ("hutong.record.v1.rs", "record/src/generated"),
    ("hutong.peer.v1.rs", "wire/src/generated"),
    ("hutong.merchant.v1.rs", "wire/src/generated"),
];
const DESCRIPTOR: &str = "wire/src/generated/descriptor.bin";

#[test]
fn generated_code_matches_the_protos() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/").to_owned();
    let fresh = generate(&crates);
    let write = std::env::var("HUTONG_CODEGEN").is_ok_and(|v| v == "write");
    for (home, bytes) in fresh {
        let path = crates.join(&home);
        if write {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder is made");
            std::fs::write(&path, &bytes).expect("generated file is written");
        }
        let stored = std::fs::read(&path).unwrap_or_default();
        assert!(stored == bytes, "{home} is out of date: run with HUTONG_CODEGEN=write");
    }
}

fn generate(crates: &Path) -> Vec<(String, Vec<u8>)> {
    let protos = crates.with_file_name("proto");
    let files = proto_files(&protos.join("hutong"));
    let descriptors = protox::compile(&files, [&protos]).expect("protos compile");
    let out = tempfile::tempdir().expect("temporary folder");

    let mut records = descriptors.clone();
    records.file.retain(|f| f.package().starts_with("hutong.record"));

    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".hutong.record.v1")
        .out_dir(out.path())
        .compile_fds(records)
        .expect("record code is generated");
    tonic_prost_build::configure()
        .bytes(".hutong.peer.v1")
        .extern_path(".hutong.record.v1", "::hutong_record::proto")
        .out_dir(out.path())
        .compile_fds(descriptors.clone())
        .expect("service code is generated");

    let mut fresh: Vec<_> = HOMES
        .iter()
        .map(|(file, home)| {
            let code = std::fs::read(out.path().join(file)).expect("package was generated");
            (format!("{home}/{file}"), code)
        })
        .collect();
    fresh.push((DESCRIPTOR.to_owned(), descriptors.encode_to_vec()));
    fresh
}

/// Every proto below `root`, sorted, so that the output does not depend on the file system.
fn proto_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("proto folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
