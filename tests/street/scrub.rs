//! A journal that is damaged, on a disk that goes on working: its neighbours heal it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use hutong_client::proto;

use crate::{
    damage::{answers, answers_again, traded},
    harness::{Shop, Street, converged, until},
};

const SEGMENT: &str = "00000001.seg";
/// Some records of usual size.
const SPOILED_BYTES: usize = 1_500;

fn journal(shop: &Shop) -> PathBuf {
    shop.alliance_folder().join("journal")
}

/// Overwrites a part of the journal in place, as a failing disk does.
fn spoil(shop: &Shop, part: u64) {
    let file = File::options().write(true).open(journal(shop).join(SEGMENT)).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0xa5; SPOILED_BYTES], length / 4 * part).unwrap();
    file.sync_all().unwrap();
}

async fn status(shop: &Shop) -> proto::AllianceStatus {
    let status = shop.client().await.get_status(proto::GetStatusRequest {}).await.expect("a status");
    status.alliances.into_iter().next().expect("one alliance")
}

async fn healed(shop: &Shop) -> proto::AllianceStatus {
    until("the journal is whole again", async || {
        let status = status(shop).await;
        let scrub = status.scrub.clone().unwrap_or_default();
        let whole = status.damages.is_empty() && status.lost_record_count + status.unfolded_count == 0;
        (whole && scrub.healed_record_count > 0).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_damaged_while_the_node_was_off_is_healed_by_a_neighbour() {
    let street = Street::new();
    let (baozi, mut teahouse) = traded(&street).await;
    let before = answers(&teahouse);
    let records = status(&teahouse).await.record_count;
    teahouse.stop().await;
    spoil(&teahouse, 1);
    spoil(&teahouse, 2);
    // Whoever folds anew finds the records missing, too.
    fs::remove_dir_all(teahouse.alliance_folder().join("views")).unwrap();
    teahouse.serve().await;
    let status = healed(&teahouse).await;
    assert_eq!(status.record_count, records);
    answers_again(&teahouse, &before).await;
    converged(&[&baozi, &teahouse]).await;
    assert!(journal(&teahouse).join("00000001.bad").exists(), "the damaged segment is kept");
    assert_eq!(status.set_aside_segments[0].file, "00000001.bad");
    assert!(teahouse.whole_log().contains("the journal is damaged"), "it was named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_damaged_under_a_running_node_is_healed_by_a_scrub() {
    let street = Street::new();
    let (mut baozi, mut teahouse) = traded(&street).await;
    let before = answers(&teahouse);
    let (sound, first) = teahouse.told(&["scrub"]);
    assert!(sound && first["sound"] == true && first["healed_record_count"] == 0, "{first}");
    spoil(&teahouse, 3);
    let (sound, found) = teahouse.told(&["scrub"]);
    assert!(sound && found["lost_record_count"] == 0, "{found}");
    assert!(found["healed_record_count"].as_u64().unwrap() > 0, "{found}");
    assert!(teahouse.metrics().await.contains("hutong_journal_set_aside_segments{"));
    answers_again(&teahouse, &before).await;
    // The file is another one now, and the shop still knows it for its own: alone, it signs after a restart.
    teahouse.stop().await;
    baozi.stop().await;
    teahouse.serve().await;
    teahouse.cli(&["sale", "report", "--amount", "1.00"]);
    let (_, doctor) = teahouse.told(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap()["status"].clone();
    assert_eq!((check("damage"), check("set-aside")), ("ok".into(), "warn".into()));
    baozi.serve().await;
    converged(&[&baozi, &teahouse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_nobody_can_heal_is_named_and_the_shop_goes_on() {
    let street = Street::new();
    let (mut baozi, teahouse) = traded(&street).await;
    baozi.stop().await;
    spoil(&teahouse, 2);
    let (sound, found) = teahouse.told(&["scrub", "--patience", "0"]);
    assert!(!sound && found["sound"] == false, "{found}");
    let damage = &found["damages"][0];
    assert_eq!(damage["file"], SEGMENT);
    assert!(damage["record_count"].as_u64().unwrap() > 0 && !damage["lost"].as_array().unwrap().is_empty());
    assert!(teahouse.metrics().await.contains("hutong_journal_damages{"));
    let (healthy, doctor) = teahouse.told(&["doctor"]);
    assert!(!healthy && doctor.to_string().contains(SEGMENT), "{doctor}");
    teahouse.cli(&["sale", "report", "--amount", "1.00"]);
    baozi.serve().await;
    healed(&teahouse).await;
    converged(&[&baozi, &teahouse]).await;
}
