//! What disks do.

use std::io::ErrorKind;

use hutong_store::disk::{Disk, DiskFile, LOCK_FILE, MemDisk, OsDisk};
use rand::{SeedableRng as _, rngs::StdRng};

fn files_are_made_written_renamed_cut_and_removed(disk: &impl Disk) {
    assert_eq!(disk.open("a").err().unwrap().kind(), ErrorKind::NotFound);
    let file = disk.create("a").unwrap();
    assert_eq!(disk.create("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
    file.append(b"hello").unwrap();
    file.append(b" world").unwrap();
    assert_eq!(file.bytes().unwrap(), 11);
    let mut buffer = [0; 5];
    file.read_at(6, &mut buffer).unwrap();
    assert_eq!(&buffer, b"world");
    assert_eq!(file.read_at(7, &mut buffer).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    file.truncate(5).unwrap();
    file.append(b"!").unwrap();
    file.sync_data().unwrap();
    disk.rename("a", "b").unwrap();
    disk.sync_folder().unwrap();
    let mut buffer = [0; 6];
    disk.open("b").unwrap().read_at(0, &mut buffer).unwrap();
    assert_eq!(&buffer, b"hello!");
    assert_eq!(disk.list().unwrap(), ["b"]);
    disk.remove("b").unwrap();
    assert!(disk.list().unwrap().is_empty());
    assert_eq!(disk.remove("b").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("b", "c").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn both_disks_keep_the_contract() {
    files_are_made_written_renamed_cut_and_removed(&MemDisk::new());
    let folder = tempfile::tempdir().unwrap();
    files_are_made_written_renamed_cut_and_removed(&OsDisk::open(folder.path().join("new/folder")).unwrap());
}

#[test]
fn a_folder_is_held_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(folder.path()).unwrap();
    assert_eq!(OsDisk::open(folder.path()).unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert!(disk.folder().join(LOCK_FILE).exists());
    drop(disk);
    OsDisk::open(folder.path()).unwrap();
}

#[test]
fn a_power_cut_spares_only_what_was_synced() {
    let (mut nothing_left, mut something_left) = (0, 0);
    for seed in 0..100 {
        let disk = MemDisk::new();
        let file = disk.create("kept").unwrap();
        file.append(b"synced").unwrap();
        file.sync_data().unwrap();
        disk.sync_folder().unwrap();
        file.append(b" and not").unwrap();
        disk.create("unsynced name").unwrap().sync_data().unwrap();
        disk.power_cut(&mut StdRng::seed_from_u64(seed));
        assert!(file.bytes().is_err(), "files that were open are dead");
        let contents = disk.contents("kept").unwrap();
        assert!(contents.starts_with(b"synced"));
        assert!(contents.len() <= 14);
        if contents.len() == 6 { nothing_left += 1 } else { something_left += 1 }
    }
    assert!(nothing_left > 0 && something_left > 0);
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = MemDisk::new();
    let file = disk.create("a").unwrap();
    disk.limit_space(Some(3));
    assert_eq!(file.append(b"hello").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.contents("a").unwrap(), b"hel");
    disk.limit_space(None);
    file.append(b"p").unwrap();
    assert_eq!(disk.contents("a").unwrap(), b"help");
}
