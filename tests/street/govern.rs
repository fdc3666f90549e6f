//! An alliance that decides about itself, over real processes: by the command line, heard of by all, told as events.

use hutong_client::proto::{EventType, WatchRequest};

use crate::harness::{Shop, Street, soon, until};

/// Waits until a shop sees a motion in a state.
async fn sees(shop: &Shop, id: &str, state: &str) {
    until(&format!("{} sees that {id} is {state}", shop.name()), async || {
        let motions = shop.cli(&["--alliance", "street", "motion", "list"]);
        let found = motions.as_array()?.iter().find(|motion| motion["id"] == id)?;
        (found["state"] == state).then_some(())
    })
    .await;
}

fn id(answer: &serde_json::Value, state: &str) -> String {
    assert_eq!(answer["state"], state, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

/// Three shops, two of which vote.
async fn three(street: &Street) -> [Shop; 3] {
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    let market = street.shop("market").await;
    baozi.cli(&[
        "alliance",
        "create",
        "--name",
        "street",
        "--amendment-percent",
        "100",
        "--category-shops",
        "1",
        "--category",
        "food",
    ]);
    baozi.admit(&teahouse).await;
    baozi.admit(&market).await;
    let core = id(&baozi.cli(&["motion", "core", "teahouse"]), "carried");
    for shop in [&teahouse, &market] {
        sees(shop, &core, "carried").await;
    }
    [baozi, teahouse, market]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_amended_by_those_who_vote_and_rule_everywhere() {
    let street = Street::new();
    let [baozi, teahouse, market] = three(&street).await;
    let amend = ["motion", "amend", "--dormancy", "30", "--removal-votes", "2", "--reason", "holidays"];
    assert_eq!(market.refused(&amend), "NOT_CORE");
    assert_eq!(baozi.refused(&["motion", "amend", "--dormancy", "3"]), "FIELD_INVALID");
    assert_eq!(baozi.refused(&["alliance", "invite", "--category", "food"]), "CATEGORY_TAKEN");
    let amendment = id(&baozi.cli(&amend), "open");
    sees(&teahouse, &amendment, "open").await;
    id(&teahouse.cli(&["motion", "vote", &amendment[..12]]), "carried");
    sees(&market, &amendment, "carried").await;
    let rules = market.cli(&["motion", "rules"]);
    assert_eq!((&rules["governance"]["dormancy_days"], &rules["season"]), (&30.into(), &1.into()));
    assert_eq!(rules["amendment_id"], amendment.as_str());
    assert_eq!(market.cli(&["alliance", "show"])["removal_votes"], 2);
    assert_eq!(baozi.refused(&["motion", "vote", &amendment, "--against"]), "MOTION_CLOSED");

    // Watchers are told, with the motion's id.
    let request = WatchRequest { resume_token: "0".to_owned(), ..Default::default() };
    let mut events = market.client().await.watch(request).await.expect("a stream");
    loop {
        let event = soon("an event", events.message()).await.expect("the stream lives").expect("it goes on");
        if event.r#type() == EventType::Motion && event.motion_id == amendment {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strike_is_appealed_against_and_a_street_that_splits_goes_on_in_two() {
    let street = Street::new();
    let [baozi, teahouse, market] = three(&street).await;
    let strike = ["motion", "strike", "market", "--cause", "missed-dues", "--reason", "March"];
    let strike = id(&baozi.cli(&strike), "carried");
    sees(&market, &strike, "carried").await;
    assert_eq!(baozi.refused(&["motion", "annul", &strike]), "NOT_APPEALED");
    let appealed = market.cli(&["motion", "appeal", &strike, "--statement", "paid on the 3rd"]);
    assert_eq!(appealed["content"]["strike"]["appeal"], "paid on the 3rd");
    until("the appeal arrives", async || baozi.try_cli(&["motion", "annul", &strike]).ok()).await;
    sees(&market, &strike, "annulled").await;

    let renewal = ["motion", "renew", "--until", "2090-05-01T00:00:00+08:00"];
    let renewal = id(&baozi.cli(&renewal), "open");
    sees(&teahouse, &renewal, "open").await;
    id(&teahouse.cli(&["motion", "vote", &renewal]), "carried");
    assert_eq!(teahouse.refused(&["motion", "go-on"]), "FIELD_INVALID", "there is no second season yet");

    let split = ["motion", "split", "--name", "backstreet", "--shop", "teahouse", "--shop", "market"];
    let split = id(&baozi.cli(&split), "open");
    sees(&teahouse, &split, "open").await;
    id(&teahouse.cli(&["motion", "vote", &split]), "carried");
    sees(&market, &split, "carried").await;
    sees(&baozi, &split, "carried").await;
    let create = ["alliance", "create", "--name", "backstreet", "--split-from", &split];
    assert_eq!(baozi.refused(&create), "ORIGIN_UNPROVEN", "it is not named");
    let founded = teahouse.cli(&create);
    assert_eq!(founded["origin"]["motion_id"], split.as_str());
    let depart = ["--alliance", "street", "motion", "depart", "--to", "backstreet", "--split", &split];
    assert!(teahouse.cli(&depart)["departure_time"].is_string());
    let vote = ["--alliance", "street", "motion", "renew", "--until", "2091-05-01T00:00:00+08:00"];
    assert_eq!(teahouse.refused(&vote), "MEMBER_DEPARTED");
    until("the departure is heard of", async || {
        let members = baozi.cli(&["alliance", "members"]);
        let gone = |member: &serde_json::Value| member["name"] == "teahouse" && member["bar"] == "departed";
        members.as_array()?.iter().any(gone).then_some(())
    })
    .await;
}
