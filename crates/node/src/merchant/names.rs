//! The names of shops, for answers that name them.

use std::collections::{BTreeMap, btree_map::Entry};

use hutong_core::{report, view::ViewError};
use hutong_record::ShopId;
use hutong_store::views::SledViews;

/// A shop's name; empty where it has said none.
pub(super) fn shop_name(view: &SledViews, shop: ShopId) -> Result<String, ViewError> {
    Ok(report::profile(view, shop)?.map(|profile| profile.name).unwrap_or_default())
}

/// The names of some shops, each looked up once.
pub(super) fn shop_names(
    view: &SledViews,
    shops: impl IntoIterator<Item = ShopId>,
) -> Result<BTreeMap<ShopId, String>, ViewError> {
    let mut names = BTreeMap::new();
    for shop in shops {
        if let Entry::Vacant(place) = names.entry(shop) {
            place.insert(shop_name(view, shop)?);
        }
    }
    Ok(names)
}
