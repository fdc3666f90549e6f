//! Guests of open invitations, whom any member brings.

use super::*;
use crate::{knock::Knock, refusal::Refusal};

const HOUR: i64 = 3_600_000;
/// Shops of the street: the founder, a core member, two ordinary members, and guests from [`GUEST`] on.
const SHOPS: usize = 7;
const GUEST: usize = 4;

/// A street with its voices, and the same as records.
struct Lane {
    shops: Shops,
    charter: Charter,
    council: Council,
    logs: Vec<Vec<Record>>,
    rng: StdRng,
}

impl Lane {
    fn new(admission_votes: u32) -> Self {
        let shops = Shops::new(SHOPS);
        let charter = shops.charter(admission_votes, 1);
        let logs = vec![Vec::new(); SHOPS];
        let mut lane =
            Self { shops, charter, council: Council::default(), logs, rng: StdRng::seed_from_u64(3) };
        for (shop, core) in [(1, true), (2, false), (3, false)] {
            for voter in 0..if core { 1 } else { admission_votes.min(2) as usize } {
                let motion = lane.shops.admission(shop, core).into();
                lane.say(0, voter, Kind::Vote, &proto::Vote { motion, ..Default::default() }).unwrap();
            }
        }
        lane
    }

    fn say(
        &mut self,
        ms: i64,
        shop: usize,
        kind: Kind,
        message: &impl prost::Message,
    ) -> Result<(), Refusal> {
        let at = UnixMillis::new(ms).unwrap();
        let bytes = message.encode_to_vec();
        let log = &mut self.logs[shop];
        let draft = Draft {
            alliance: self.charter.id,
            shop: self.shops.id(shop),
            key_epoch: 0,
            incarnation: 0,
            sequence: log.len() as u64 + 1,
            previous: log.last().map(Record::id),
            time: at,
            kind,
            audience: Audience::Alliance,
        };
        let (author, sequence) = (draft.shop, draft.sequence);
        let payload = Payload::clear(&bytes, &mut self.rng).unwrap();
        log.push(sign(draft, payload, &self.shops.0[shop].1));
        let raised =
            self.council.hear(self.charter.id, kind, at, &bytes.into(), &self.shops.1, &Afresh)?.unwrap();
        self.council.add(author, sequence, raised);
        Ok(())
    }

    /// An open invitation, good for a day; the key of its guest.
    fn invite(&mut self, ms: i64, inviter: usize, core: bool) -> SigningKey {
        let guest = SigningKey::from_seed(&[u8::try_from(ms / HOUR + 100).unwrap(); 32]);
        let invitation = proto::Invitation {
            guest_key: guest.public().as_bytes().to_vec().into(),
            expires_unix_ms: ms + 24 * HOUR,
            core,
            ..Default::default()
        };
        self.say(ms, inviter, Kind::Invitation, &invitation).unwrap();
        guest
    }

    /// The vote by which a member brings a guest.
    fn brought(&self, inviter: usize, guest: &SigningKey, shop: usize, core: bool) -> proto::Vote {
        let knock = Knock {
            alliance: self.charter.id,
            inviter: self.shops.id(inviter),
            guest_key: *guest.public().as_bytes(),
            shop: self.shops.id(shop),
        };
        proto::Vote {
            motion: self.shops.admission(shop, core).into(),
            guest_key: knock.guest_key.to_vec().into(),
            inviter_id: knock.inviter.as_bytes().to_vec().into(),
            guest_signature: knock.sign(guest).to_vec().into(),
            ..Default::default()
        }
    }

    fn roster(&self) -> Roster {
        Roster::count(&self.charter, &self.council, &Cuts::new())
    }

    fn standing(&self, shop: usize) -> Option<Standing> {
        self.shops.standing(&self.roster(), shop)
    }
}

#[test]
fn the_voice_that_a_guest_is_brought_with_is_its_inviter_s() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let vote = lane.brought(1, &guest, GUEST, false);
    lane.say(2 * HOUR, 3, Kind::Vote, &vote).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Member));
    let roster = lane.roster();
    let tally = &roster.government().motions[&motion_id(&vote.motion)];
    assert_eq!(tally.voices_for, BTreeSet::from([lane.shops.id(1)]), "and not the bringer's");
    let id = (lane.shops.id(1), *guest.public().as_bytes());
    assert_eq!(roster.government().invitations[&id].used_for, Some(motion_id(&vote.motion)));
}

#[test]
fn an_open_invitation_of_an_ordinary_member_lets_nobody_in() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 2, false);
    let vote = lane.brought(2, &guest, GUEST, false);
    lane.say(2 * HOUR, 1, Kind::Vote, &vote).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending), "though a core member brings the guest");
}

#[test]
fn an_open_invitation_is_used_by_the_guest_who_was_brought_first() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let (late, early) = (lane.brought(1, &guest, GUEST, false), lane.brought(1, &guest, GUEST + 1, false));
    lane.say(3 * HOUR, 2, Kind::Vote, &late).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Member), "nothing else is known yet");
    lane.say(2 * HOUR, 3, Kind::Vote, &early).unwrap();
    assert_eq!(lane.standing(GUEST + 1), Some(Standing::Member));
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending));
    // The same guest at a second door adds nothing.
    lane.say(4 * HOUR, 2, Kind::Vote, &early).unwrap();
    let tally = lane.roster().government().motions[&motion_id(&early.motion)].clone();
    assert_eq!(tally.voices_for, BTreeSet::from([lane.shops.id(1)]));
}

#[test]
fn a_guest_on_other_terms_or_past_the_end_is_not_let_in() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let as_core = lane.brought(1, &guest, GUEST, true);
    lane.say(2 * HOUR, 3, Kind::Vote, &as_core).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending));
    let late = lane.brought(1, &guest, GUEST, false);
    lane.say(25 * HOUR, 3, Kind::Vote, &late).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending), "that is its end");
    // A record that is dated back within its log gains nothing.
    lane.say(24 * HOUR, 3, Kind::Vote, &late).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending));
    lane.say(25 * HOUR - 1, 2, Kind::Vote, &late).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Member));
}

#[test]
fn a_guest_whose_word_is_forged_or_for_another_place_is_not_heard() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let good = lane.brought(1, &guest, GUEST, false);
    let other_key = lane.brought(1, &SigningKey::from_seed(&[1; 32]), GUEST, false);
    let elsewhere = Knock {
        alliance: ALLIANCE,
        inviter: lane.shops.id(1),
        guest_key: *guest.public().as_bytes(),
        shop: lane.shops.id(GUEST),
    };
    let round = {
        let mut motion = proto::Motion::decode(good.motion.clone()).unwrap();
        motion.round = 1;
        motion.encode_to_vec()
    };
    let bad = [
        proto::Vote { motion: lane.shops.admission(GUEST + 1, false).into(), ..good.clone() },
        proto::Vote { motion: lane.shops.removal(GUEST, 0).into(), ..good.clone() },
        proto::Vote { motion: round.into(), ..good.clone() },
        proto::Vote { inviter_id: lane.shops.id(0).as_bytes().to_vec().into(), ..good.clone() },
        proto::Vote { inviter_id: vec![1; 31].into(), ..good.clone() },
        proto::Vote { guest_signature: other_key.guest_signature.clone(), ..good.clone() },
        proto::Vote { guest_signature: elsewhere.sign(&guest).to_vec().into(), ..good.clone() },
        proto::Vote { guest_signature: bytes::Bytes::new(), ..good.clone() },
        proto::Vote { guest_key: vec![0; 32].into(), ..good.clone() },
        proto::Vote { guest_key: bytes::Bytes::new(), ..good.clone() },
        proto::Vote { against: true, ..good.clone() },
    ];
    for vote in bad {
        lane.say(2 * HOUR, 3, Kind::Vote, &vote).expect_err("not heard");
        assert_eq!(lane.standing(GUEST), None);
    }
    // A key that nobody invited by is heard, and opens nothing.
    lane.say(2 * HOUR, 3, Kind::Vote, &other_key).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending));
    lane.say(2 * HOUR, 3, Kind::Vote, &good).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Member));
}

#[test]
fn invitations_out_of_bounds_are_not_heard() {
    let mut lane = Lane::new(1);
    let good =
        proto::Invitation { guest_key: vec![1; 32].into(), expires_unix_ms: 24 * HOUR, ..Default::default() };
    let bad = [
        proto::Invitation { guest_key: vec![1; 31].into(), ..good.clone() },
        proto::Invitation { expires_unix_ms: HOUR, ..good.clone() },
        proto::Invitation { expires_unix_ms: HOUR + INVITATION_MS_MAX + 1, ..good.clone() },
        proto::Invitation { expires_unix_ms: -1, ..good.clone() },
        proto::Invitation { note: "给谁".into(), ..good.clone() },
        proto::Invitation { category: "行".repeat(CATEGORY_CHARS_MAX + 1), ..good.clone() },
    ];
    for invitation in bad {
        lane.say(HOUR, 1, Kind::Invitation, &invitation).expect_err("not heard");
    }
    lane.say(HOUR, 1, Kind::Invitation, &good).unwrap();
    assert_eq!(lane.roster().government().invitations.len(), 1);
}

#[test]
fn an_inviter_that_is_out_when_the_guest_comes_has_no_voice() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let removal = proto::Vote { motion: lane.shops.removal(1, 99).into(), ..Default::default() };
    lane.say(2 * HOUR, 0, Kind::Vote, &removal).unwrap();
    let vote = lane.brought(1, &guest, GUEST, false);
    lane.say(3 * HOUR, 3, Kind::Vote, &vote).unwrap();
    assert_eq!(lane.standing(GUEST), Some(Standing::Pending));
}

#[test]
fn an_open_invitation_past_its_author_s_fork_never_was() {
    let mut lane = Lane::new(1);
    let guest = lane.invite(HOUR, 1, false);
    let vote = lane.brought(1, &guest, GUEST, false);
    lane.say(2 * HOUR, 3, Kind::Vote, &vote).unwrap();
    let forks = Cuts::from([(lane.shops.id(1), lane.logs[1].len() as u64 - 1)]);
    let roster = Roster::count(&lane.charter, &lane.council, &forks);
    assert!(roster.government().invitations.is_empty());
    assert_eq!(lane.shops.standing(&roster, GUEST), Some(Standing::Pending));
}

/// Where three votes are needed, the founder takes the first core members in alone: by its invitations, too.
#[test]
fn first_core_members_may_come_by_the_founder_s_open_invitations() {
    let mut lane = Lane::new(3);
    let guest = lane.invite(HOUR, 0, true);
    let vote = lane.brought(0, &guest, GUEST, true);
    lane.say(2 * HOUR, 1, Kind::Vote, &vote).unwrap();
    assert!(lane.roster().member(lane.shops.id(GUEST)).is_some_and(|member| member.core));
    let third = lane.invite(3 * HOUR, 0, true);
    let vote = lane.brought(0, &third, GUEST + 1, true);
    lane.say(4 * HOUR, 1, Kind::Vote, &vote).unwrap();
    assert_eq!(lane.standing(GUEST + 1), Some(Standing::Pending), "by then there are three to vote");
}

/// Two guests of one link at two doors, one too late, one on other terms, a bringer that is sealed.
#[test]
fn guests_brought_in_any_order_of_records_give_the_same_roster() {
    let mut lane = Lane::new(1);
    let guests: Vec<_> = (1..4).map(|hour| lane.invite(hour * HOUR, 1, hour == 3)).collect();
    let bring = |lane: &mut Lane, hour: i64, by: usize, key: usize, shop: usize, core: bool| {
        let vote = lane.brought(1, &guests[key], shop, core);
        lane.say(hour * HOUR, by, Kind::Vote, &vote).unwrap();
    };
    bring(&mut lane, 6, 2, 0, GUEST, false);
    bring(&mut lane, 5, 3, 0, GUEST + 1, false);
    bring(&mut lane, 7, 3, 1, GUEST, false);
    bring(&mut lane, 8, 0, 2, GUEST + 2, true);
    bring(&mut lane, 40, 2, 2, GUEST + 1, true);
    let removal = proto::Vote { motion: lane.shops.removal(3, 0).into(), ..Default::default() };
    lane.say(50 * HOUR, 0, Kind::Vote, &removal).unwrap();
    let first = fold(&lane.charter, lane.shops.id(0), &lane.logs, 0);
    assert_eq!(lane.shops.standing(&first.0, GUEST), Some(Standing::Member), "the other's bringer is sealed");
    assert_eq!(lane.shops.standing(&first.0, GUEST + 1), Some(Standing::Pending));
    assert_eq!(lane.shops.standing(&first.0, GUEST + 2), Some(Standing::Member));
    for order in 1..60 {
        let other = fold(&lane.charter, lane.shops.id(2), &lane.logs, order);
        assert!(other == first, "order {order}: set the loop to it to replay");
    }
}
