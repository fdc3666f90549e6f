//! The flash sale: while the street is cut in two, a crowd comes to every shop that has a share of one leased stock. Each
//! sells its share with nobody's leave; how much of the stock is sold by the end of the cut is measured.

use rand::RngExt as _;

use crate::{
    clock::{HOUR_MS, MINUTE_MS},
    fault::FaultKind,
    network::Cut,
    node::ShopNumber,
    workload::Deed,
    world::{Event, World},
};

/// The crowd comes within so long, ms.
const RUSH_MS: i64 = 30 * MINUTE_MS;
/// The street is cut in two for so long, ms.
const CUT_MS: i64 = 3 * HOUR_MS;

/// A flash sale under way, or over.
#[derive(Debug)]
pub(crate) struct FlashSale {
    cut: Cut,
    offer: usize,
    /// Sound shops that were open when it began.
    shops: Vec<ShopNumber>,
    /// Vouchers that these shops had, and that they sold by the end of the cut; none: it is not over.
    pub(crate) outcome: Option<(u64, u64)>,
}

impl World {
    /// The street is cut, and the crowd sets out.
    pub(crate) fn begin_flash_sale(&mut self) -> Option<()> {
        let offer = self.offers.iter().position(|offer| offer.flash && offer.id.is_some())?;
        let sells =
            |shop: &ShopNumber| self.shops[*shop].faulty.is_none() && self.nodes[*shop].process.is_some();
        let shops: Vec<_> = self.offers[offer].distributors.iter().copied().filter(sells).collect();
        let inside = (0..self.nodes.len()).map(|node| node % 2 == 0).collect();
        let cut = self.network.part(inside, false);
        self.faults.add(FaultKind::Partition);
        self.doubt_links();
        self.after(CUT_MS, Event::Rejoin(cut));
        for shop in &shops {
            let quota = self.offers[offer].quota_of(*shop);
            for _ in 0..quota + quota / 4 + 1 {
                let wait_ms = self.rng.random_range(0..RUSH_MS);
                self.after(wait_ms, Event::Customer(Deed::Rush { offer, at: *shop }));
            }
        }
        self.flash = Some(FlashSale { cut, offer, shops, outcome: None });
        Some(())
    }

    /// A cut ends; with the flash sale's, what was sold is counted.
    pub(crate) fn rejoin(&mut self, cut: Cut) {
        self.network.rejoin(cut);
        let Some(sale) = &mut self.flash else { return };
        let (offer, true) = (&self.offers[sale.offer], sale.cut == cut) else { return };
        let stock = sale.shops.iter().map(|shop| u64::from(offer.quota_of(*shop))).sum();
        let sold = |shop: &ShopNumber| offer.id.map_or(0, |id| self.checks.vou2.first_round_at(id, *shop));
        sale.outcome = Some((stock, sale.shops.iter().map(sold).sum()));
    }
}
