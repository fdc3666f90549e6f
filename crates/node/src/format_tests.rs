use hutong_record::AllianceId;

use super::*;

/// A folder with one alliance.
fn folder() -> (tempfile::TempDir, DataFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let data = DataFolder::new(temporary.path().join("node"));
    let alliance = data.alliance(AllianceId::new([7; 32]));
    fs::create_dir_all(alliance.join("journal")).unwrap();
    for name in ["shop.key", "identity.bin", "hutong.toml"] {
        fs::write(data.path().join(name), name).unwrap();
    }
    fs::write(alliance.join("charter.bin"), "charter").unwrap();
    fs::write(alliance.join("journal/00000001.seg"), vec![7; 100_000]).unwrap();
    fs::create_dir_all(alliance.join("views")).unwrap();
    fs::write(alliance.join("views/db"), "not copied").unwrap();
    (temporary, data)
}

fn write_mark(data: &DataFolder, format: u32, views: u32, program: &str) {
    let written = Written { format, views, program: program.to_owned() };
    fs::write(data.path().join(FILE), written.to_string()).unwrap();
}

fn copies(data: &DataFolder) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(data.path().join(COPIES))
        .map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort_unstable();
    names
}

#[test]
fn a_mark_reads_as_it_was_written() {
    let (_temporary, data) = folder();
    assert_eq!(written(&data).unwrap(), None);
    mark(&data).unwrap();
    assert_eq!(written(&data).unwrap(), Some(Written::own()));
    assert_eq!(prepare(&data).unwrap(), Prepared::Same);
    assert!(copies(&data).is_empty());
}

#[test]
fn a_newer_program_s_folder_is_refused_and_left_as_it_is() {
    let (_temporary, data) = folder();
    for (format, views) in [(FORMAT + 1, VIEWS_VERSION), (FORMAT, VIEWS_VERSION + 1)] {
        write_mark(&data, format, views, "9.9.9");
        let error = prepare(&data).unwrap_err();
        assert!(matches!(&error, FormatError::Newer { found, .. } if found.program == "9.9.9"));
        assert!(
            error.to_string().contains("hutong 9.9.9") && error.to_string().contains("Nothing was changed")
        );
        assert_eq!(written(&data).unwrap().unwrap().format, format);
    }
    assert!(copies(&data).is_empty());
}

#[test]
fn an_older_program_s_data_is_copied_before_it_is_taken_over() {
    let (_temporary, data) = folder();
    let Prepared::Copied(copy) = prepare(&data).unwrap() else { panic!("not copied") };
    assert_eq!(copies(&data), ["unmarked"]);
    let alliance = format!("alliances/{}", AllianceId::new([7; 32]));
    assert_eq!(fs::read(copy.join(&alliance).join("journal/00000001.seg")).unwrap().len(), 100_000);
    assert_eq!(fs::read(copy.join("shop.key")).unwrap(), b"shop.key");
    assert!(!copy.join(&alliance).join("views").exists());
    assert_eq!(prepare(&data).unwrap(), Prepared::Same);

    write_mark(&data, FORMAT, VIEWS_VERSION - 1, "0.0.9");
    assert!(matches!(prepare(&data).unwrap(), Prepared::Copied(_)));
    write_mark(&data, FORMAT, VIEWS_VERSION - 2, "0.0.8");
    assert!(matches!(prepare(&data).unwrap(), Prepared::Copied(_)));
    assert_eq!(copies(&data).len(), COPIES_MAX);
    assert!(!copies(&data).contains(&"unmarked".to_owned()), "the oldest goes");
}

#[cfg(unix)]
#[test]
fn copies_are_their_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let (_temporary, data) = folder();
    let Prepared::Copied(copy) = prepare(&data).unwrap() else { panic!("not copied") };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&copy), mode(&copy.join("shop.key"))), (0o700, 0o600));
}

#[test]
fn a_start_that_was_cut_short_copies_once_and_leaves_nothing_half() {
    let (_temporary, data) = folder();
    let unfinished = data.path().join(COPIES).join("unmarked.new");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("shop.key"), "ha").unwrap();
    let Prepared::Copied(copy) = prepare(&data).unwrap() else { panic!("not copied") };
    assert_eq!(fs::read(copy.join("shop.key")).unwrap(), b"shop.key");
    assert!(!unfinished.exists());
    fs::remove_file(data.path().join(FILE)).unwrap();
    assert_eq!(prepare(&data).unwrap(), Prepared::Copied(copy));
}

#[test]
fn the_program_s_version_alone_is_no_reason_for_a_copy() {
    let (_temporary, data) = folder();
    write_mark(&data, FORMAT, VIEWS_VERSION, "0.0.9");
    assert_eq!(prepare(&data).unwrap(), Prepared::Marked);
    assert!(copies(&data).is_empty());
}

#[test]
fn a_damaged_mark_is_named_and_nothing_is_changed() {
    let (_temporary, data) = folder();
    let own = Written::own().to_string();
    let bad = [
        "",
        "hutong data v2\nformat 1\nviews 1\nprogram 1\n",
        "hutong data v1\nformat x\nviews 1\nprogram 1\n",
        "hutong data v1\nformat 1\nviews 1\nprogram ../../etc\n",
        "hutong data v1\nformat 99999999999\nviews 1\nprogram 1\n",
        &own[..own.len() / 2],
    ];
    for text in bad {
        fs::write(data.path().join(FILE), text).unwrap();
        assert!(matches!(prepare(&data), Err(FormatError::Damaged(_))), "{text}");
    }
    assert!(copies(&data).is_empty());
}
