//! What a seed decides: the customers' card numbers, and their habits.

/// How often, one in so many visits or uses. Small, so that the street stays an ordinary one.
const ODDS: [(Habit, u16); 8] = [
    (Habit::RepeatSale, 100),
    (Habit::RepeatRedemption, 30),
    (Habit::ShowAgain, 25),
    (Habit::TwoTills, 40),
    (Habit::TryExpired, 4),
    (Habit::TryTooSmall, 8),
    (Habit::TryWrongShop, 60),
    (Habit::TakeBack, 50),
];

/// Something that a customer or a till does now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// The till sends a sale once more, as after a lost answer.
    RepeatSale,
    /// The till sends a redemption once more.
    RepeatRedemption,
    /// The customer shows a used voucher a second time.
    ShowAgain,
    /// Two tills scan the same voucher at the same moment.
    TwoTills,
    /// The customer tries a voucher past its time.
    TryExpired,
    /// The customer buys less than the voucher asks for.
    TryTooSmall,
    /// The customer shows a voucher that another shop redeems.
    TryWrongShop,
    /// The shop takes a redemption back.
    TakeBack,
}

/// Everything that is left to chance, by seed.
#[derive(Clone)]
pub(super) struct Chance {
    key: [u8; 32],
}

impl Chance {
    /// The same seed gives the same cards and habits.
    pub(super) fn new(seed: u64) -> Self {
        Self { key: blake3::derive_key("hutong demo street 2017", &seed.to_le_bytes()) }
    }

    /// The card that a customer carries: 32 hex digits that tell nothing about the customer.
    pub(super) fn card_id(&self, customer: u32) -> String {
        let hash = self.draw(b'c', u64::from(customer));
        data_encoding::HEXLOWER.encode(&hash[..16])
    }

    /// What happens to happen at the visit on `line`.
    pub(super) fn rolls(&self, line: u64) -> Rolls {
        Rolls(self.draw(b'v', line))
    }

    fn draw(&self, domain: u8, number: u64) -> [u8; 32] {
        let mut input = [domain; 9];
        input[1..].copy_from_slice(&number.to_le_bytes());
        *blake3::keyed_hash(&self.key, &input).as_bytes()
    }
}

/// The dice of one visit: one for each habit.
pub(super) struct Rolls([u8; 32]);

impl Rolls {
    /// Whether the habit shows at this visit.
    pub(super) fn shows(&self, habit: Habit) -> bool {
        let die = ODDS.iter().position(|(h, _)| *h == habit).expect("every habit has its odds");
        let roll = u16::from_le_bytes([self.0[2 * die], self.0[2 * die + 1]]);
        roll.is_multiple_of(ODDS[die].1)
    }
}

#[cfg(test)]
impl Rolls {
    /// Dice under which exactly these habits show.
    pub(super) fn only(habits: &[Habit]) -> Self {
        let mut dice = [1; 32];
        for (die, (habit, _)) in ODDS.iter().enumerate() {
            let roll = u16::from(!habits.contains(habit));
            dice[2 * die..2 * die + 2].copy_from_slice(&roll.to_le_bytes());
        }
        Self(dice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_depends_on_seed_and_customer_alone() {
        let card = Chance::new(1).card_id(7);
        assert_eq!(card, Chance::new(1).card_id(7));
        assert_ne!(card, Chance::new(2).card_id(7));
        assert_ne!(card, Chance::new(1).card_id(8));
        assert_eq!(card.len(), 32);
    }

    #[test]
    fn every_habit_shows_about_as_often_as_its_odds() {
        let chance = Chance::new(3);
        for (habit, odds) in ODDS {
            let shown = (0..60_000).filter(|line| chance.rolls(*line).shows(habit)).count();
            let expected = 60_000 / usize::from(odds);
            assert!(shown.abs_diff(expected) < expected / 4, "{habit:?}: {shown} of {expected}");
        }
    }

    #[test]
    fn loaded_dice_show_what_they_should() {
        let rolls = Rolls::only(&[Habit::TwoTills]);
        assert!(rolls.shows(Habit::TwoTills));
        assert!(!rolls.shows(Habit::TryExpired));
    }
}
