//! Guests of open invitations, let in by members for a shop that nobody can call.

use hutong_core::{
    command::{Command, Guest},
    knock::Knock,
    refusal::{Reason, Refusal},
    roster::{OPEN_INVITATIONS_MAX, Standing},
};
use hutong_record::{AllianceId, Identity, SigningKey, proto};
use rand::RngExt as _;

use crate::street::{DAY_MS, Street, keys};

/// An invitation's secret key, and who gave it out.
struct Given {
    inviter: usize,
    guest: SigningKey,
}

impl Street {
    fn invitation(&mut self, days: i64) -> (SigningKey, proto::Invitation) {
        let guest = SigningKey::from_seed(&self.rng.random());
        let invitation = proto::Invitation {
            guest_key: guest.public().as_bytes().to_vec().into(),
            expires_unix_ms: self.now.ms() + days * DAY_MS,
            note: "茶馆".into(),
            ..Default::default()
        };
        (guest, invitation)
    }

    fn invite_openly(&mut self, inviter: usize) -> Given {
        let (guest, invitation) = self.invitation(7);
        self.run(inviter, &Command::InviteOpenly(invitation)).unwrap();
        Given { inviter, guest }
    }

    fn newcomer(&mut self) -> Identity {
        keys(&mut self.rng, self.now).0
    }

    fn knock(&self, given: &Given, who: &Identity, alliance: AllianceId) -> Guest {
        let guest_key = *given.guest.public().as_bytes();
        let inviter = self.id(given.inviter);
        let knock = Knock { alliance, inviter, guest_key, shop: who.id() };
        let signature = knock.sign(&given.guest).to_vec().into();
        Guest { inviter, guest_key, identity: who.signed().clone(), signature, continuation: None }
    }

    fn bring(&mut self, by: usize, guest: Guest) -> Result<usize, Refusal> {
        self.run(by, &Command::BringGuest(Box::new(guest))).map(|executed| executed.records.len())
    }

    fn bring_by_link(&mut self, by: usize, given: &Given, who: &Identity) -> Result<usize, Refusal> {
        let guest = self.knock(given, who, self.charter.id);
        self.bring(by, guest)
    }

    fn standing_of(&self, at: usize, who: &Identity) -> Option<Standing> {
        self.shops[at].ledger.alliance().roster().shop(who.id()).map(|member| member.standing)
    }
}

#[test]
fn a_member_lets_a_guest_in_while_the_inviter_is_away() {
    let mut street = Street::new(900, 3);
    let given = street.invite_openly(0);
    street.carry(0, 2);
    let who = street.newcomer();
    assert_eq!(street.bring_by_link(2, &given, &who), Ok(1));
    assert_eq!(street.standing_of(2, &who), Some(Standing::Member), "though shop 2 has no vote itself");
    assert_eq!(street.standing_of(0, &who), None);
    assert_eq!(street.bring_by_link(2, &given, &who), Ok(0), "asked again: the guest is in");
    street.meet();
    assert_eq!(street.standing_of(0, &who), Some(Standing::Member));
    assert_eq!(street.bring_by_link(1, &given, &who), Ok(0), "at another door, too");
    street.check_any_order(901, "a guest");
}

#[test]
fn for_whom_an_open_invitation_is_meant_stays_with_its_inviter() {
    let mut street = Street::new(905, 2);
    street.invite_openly(0);
    let log = street.shops[0].log(street.id(0), 0);
    let clear = log.iter().filter(|record| record.header().kind == proto::Kind::Invitation);
    let clear = clear.filter(|record| record.header().audience.named().is_empty());
    let messages: Vec<_> = clear.filter_map(|r| r.payload().map(hutong_record::Payload::message)).collect();
    assert_eq!(messages.len(), 1);
    assert!(!messages[0].windows(6).any(|bytes| bytes == "茶馆".as_bytes()));
}

#[test]
fn a_link_that_two_use_lets_in_who_came_first_and_says_so_to_the_other() {
    let mut street = Street::new(910, 4);
    let given = street.invite_openly(0);
    street.meet();
    let (one, other) = (street.newcomer(), street.newcomer());
    street.bring_by_link(1, &given, &one).unwrap();
    assert_eq!(street.bring_by_link(1, &given, &other).unwrap_err().reason, Reason::InvitationInvalid);
    street.pass(1_000);
    // Shop 2 has not heard of it yet.
    assert_eq!(street.bring_by_link(2, &given, &other), Ok(1));
    assert_eq!(street.standing_of(2, &other), Some(Standing::Member));
    street.meet();
    for shop in 0..4 {
        assert_eq!(street.standing_of(shop, &one), Some(Standing::Member));
        assert_eq!(street.standing_of(shop, &other), Some(Standing::Pending));
    }
    street.check_any_order(911, "two guests of one link");
}

#[test]
fn guests_whose_link_is_past_its_time_or_not_theirs_are_refused() {
    let mut street = Street::new(920, 3);
    let given = street.invite_openly(0);
    street.meet();
    let who = street.newcomer();
    let refused = |street: &mut Street, guest: Guest| street.bring(1, guest).unwrap_err().reason;
    let good = street.knock(&given, &who, street.charter.id);
    let elsewhere = street.knock(&given, &who, AllianceId::new([9; 32]));
    assert_eq!(refused(&mut street, elsewhere), Reason::InvitationInvalid);
    let impostor = Guest { identity: street.newcomer().signed().clone(), ..good.clone() };
    assert_eq!(refused(&mut street, impostor), Reason::InvitationInvalid);
    let unsigned = Guest { signature: bytes::Bytes::new(), ..good.clone() };
    assert_eq!(refused(&mut street, unsigned), Reason::InvitationInvalid);
    let other_inviter =
        street.knock(&Given { inviter: 2, guest: SigningKey::from_seed(&[1; 32]) }, &who, street.charter.id);
    assert_eq!(refused(&mut street, other_inviter), Reason::InvitationInvalid);
    let mut broken = good.clone();
    broken.identity.signature = vec![0; 64].into();
    assert_eq!(refused(&mut street, broken), Reason::FieldInvalid);
    let member = street.shops[2].identity.clone();
    let member = street.knock(&given, &member, street.charter.id);
    assert_eq!(refused(&mut street, member), Reason::MemberExists);
    street.pass(7 * DAY_MS);
    assert_eq!(refused(&mut street, good), Reason::InvitationInvalid, "past its time");
    assert_eq!(street.standing_of(1, &who), None, "nothing was written");
}

#[test]
fn an_inviter_that_left_or_has_no_vote_invites_nobody() {
    let mut street = Street::new(930, 3);
    let (_, invitation) = street.invitation(7);
    let refusal = street.run(2, &Command::InviteOpenly(invitation)).unwrap_err();
    assert_eq!(refusal.reason, Reason::NotCore);
    let core = street.join(true);
    street.meet();
    let given = street.invite_openly(core);
    street.meet();
    let remove =
        Command::Remove { shop: street.id(core), last_sequence: None, held: 99, reason: String::new() };
    street.run(0, &remove).unwrap();
    street.carry(0, 1);
    let who = street.newcomer();
    assert_eq!(street.bring_by_link(1, &given, &who).unwrap_err().reason, Reason::InvitationInvalid);
}

#[test]
fn a_shop_has_so_many_open_invitations_at_a_time_and_no_more() {
    let mut street = Street::new(940, 2);
    for _ in 0..OPEN_INVITATIONS_MAX {
        street.invite_openly(0);
    }
    let (_, invitation) = street.invitation(7);
    let refusal = street.run(0, &Command::InviteOpenly(invitation.clone())).unwrap_err();
    assert_eq!((refusal.reason, refusal.fact("field")), (Reason::FieldInvalid, Some("validity")));
    // A link of its own door is none of these.
    street.run(0, &Command::Invite(invitation)).unwrap();
    street.pass(7 * DAY_MS);
    street.invite_openly(0);
}

#[test]
fn the_guest_of_an_open_invitation_is_brought_at_its_inviter_s_own_door_too() {
    let mut street = Street::new(950, 2);
    let given = street.invite_openly(0);
    let who = street.newcomer();
    let guest_key = *given.guest.public().as_bytes();
    let unsigned = Command::AdmitGuest { guest_key, identity: who.signed().clone(), continuation: None };
    assert_eq!(street.run(0, &unsigned).unwrap_err().reason, Reason::InvitationInvalid);
    assert_eq!(street.bring_by_link(0, &given, &who), Ok(1));
    assert_eq!(street.standing_of(0, &who), Some(Standing::Member));
}
