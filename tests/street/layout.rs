//! kill -9 while an alliance is being laid out on the disk: it is there whole or not at all, and can be tried again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use hutong_client::proto;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::harness::{Shop, Street, soon, until};

const TURNS_MAX: u32 = 200;

fn folders(shop: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(shop.join("alliances")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Waits for a file in a new alliance's folder, and then a number of turns of the scheduler.
async fn laid_out(shop: &Path, known: &BTreeSet<PathBuf>, step: &str, turns: u32) {
    soon("it gets there", async {
        while !folders(shop).difference(known).any(|folder| folder.join(step).exists()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

async fn alliances(shop: &Shop) -> Vec<proto::Alliance> {
    shop.client().await.all_alliances().await.expect("alliances")
}

/// Whoever was told that the alliance stands finds it; nobody finds half of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_founding_leaves_a_whole_alliance_or_none() {
    let street = Street::new();
    let mut shop = street.shop("baozi").await;
    let mut told = BTreeSet::new();
    let mut rng = StdRng::seed_from_u64(5);
    for step in ["", "charter.bin", "journal", "journal/00000001.seg", "views", "views/db"].repeat(2) {
        let (folder, known) = (shop.folder().to_owned(), folders(shop.folder()));
        let client = shop.client().await;
        let request = proto::CreateAllianceRequest { name: "street".to_owned(), ..Default::default() };
        let kill = async {
            laid_out(&folder, &known, step, rng.random_range(0..TURNS_MAX)).await;
            shop.kill().await;
        };
        let (founded, ()) = tokio::join!(client.create_alliance(request), kill);
        told.extend(founded.ok().and_then(|answer| answer.alliance).map(|alliance| alliance.id));
        shop.serve().await;
        let listed = alliances(&shop).await;
        let whole = |one: &proto::Alliance| one.own_state() == proto::MemberState::Member;
        assert!(listed.iter().all(whole), "killed at {step:?}: {listed:?}");
        let listed: BTreeSet<_> = listed.into_iter().map(|alliance| alliance.id).collect();
        assert!(told.is_subset(&listed), "killed at {step:?}: {told:?} {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_crashed_while_joining_is_a_member_or_joins_by_the_same_link() {
    let street = Street::new();
    let baozi = street.shop("baozi").await;
    baozi.found("street");
    let mut rng = StdRng::seed_from_u64(6);
    for (number, step) in
        ["", "invited-by.bin", "charter.bin", "journal", "views", "views/db"].iter().enumerate()
    {
        let mut guest = street.shop(&format!("guest-{number}")).await;
        let link = baozi.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
        let (folder, client) = (guest.folder().to_owned(), guest.client().await);
        let kill = async {
            laid_out(&folder, &BTreeSet::new(), step, rng.random_range(0..TURNS_MAX)).await;
            guest.kill().await;
        };
        let request = proto::JoinAllianceRequest { link: link.clone(), ..Default::default() };
        let (_joined, ()) = tokio::join!(client.join_alliance(request), kill);
        guest.serve().await;
        if alliances(&guest).await.is_empty() {
            guest.cli(&["alliance", "join", &link]);
        }
        until(&format!("a guest killed at {step:?} is a member"), async || {
            let listed = alliances(&guest).await;
            (listed[0].own_state() == proto::MemberState::Member).then_some(())
        })
        .await;
    }
}
