//! Views folded anew from the journal, as after damage: on one core, since one thread folds.

use std::{path::Path, time::Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use hutong_core::{
    answer::RequestTag,
    command::{Command, SaleCommand},
};
use hutong_record::{Currency, Money};
use serde_json::{Value, json};

use super::{
    Plan,
    figures::{Series, rate},
    machine,
    street::{Content, Ledger, Street},
};
use crate::{alliance::AllianceFolder, clock};

const RECORDS: usize = 100_000;
/// Own sales are opened, and leave several entries each.
const OWN_RECORDS: usize = 10_000;
const AT_ONCE: usize = 64;
/// Of an alliance's folder.
const VIEWS_FOLDER: &str = "views";

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    Ok(json!({
        "of_others": others(plan, RECORDS).await?,
        "own_sales": own(plan, OWN_RECORDS).await?,
        "memory_peak_bytes": machine::memory_peak_bytes(),
    }))
}

/// Records of 20 other shops, for all.
pub(super) async fn others(plan: &Plan, count: usize) -> anyhow::Result<Value> {
    let mut street = Street::new(20)?;
    let path = plan.home.folder("rebuild")?;
    let folder = AllianceFolder::new(path.clone());
    let mut ledger = street.found(&folder).await?;
    ledger.take_in(street.write(Content::Public, count)?).await?;
    fold_anew(plan, &street, &path, ledger).await
}

/// This shop's own sales, opened with its key.
async fn own(plan: &Plan, count: usize) -> anyhow::Result<Value> {
    let street = Street::new(0)?;
    let path = plan.home.folder("rebuild")?;
    let folder = AllianceFolder::new(path.clone());
    let ledger = street.found(&folder).await?;
    let sales = (0..count).map(sale).collect::<anyhow::Result<Vec<_>>>()?;
    let sell = |sale| ledger.hosted.execute(Command::Sell(sale));
    stream::iter(sales).map(sell).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    fold_anew(plan, &street, &path, ledger).await
}

async fn fold_anew(plan: &Plan, street: &Street, path: &Path, mut ledger: Ledger) -> anyhow::Result<Value> {
    let mut rates = Series::default();
    let mut records = 0;
    for _ in 0..plan.runs {
        ledger.close().await;
        std::fs::remove_dir_all(path.join(VIEWS_FOLDER))?;
        let start = Instant::now();
        ledger = street.open(&AllianceFolder::new(path.to_owned()))?;
        records = ledger.hosted.reader().record_count();
        anyhow::ensure!(ledger.hosted.unfolded_count().await? == 0, "some records are not folded");
        rates.push(rate(usize::try_from(records)?, start.elapsed()));
    }
    ledger.close().await;
    Ok(json!({ "records": records, "records_per_s": rates.json() }))
}

fn sale(number: usize) -> anyhow::Result<SaleCommand> {
    let id = format!("sale-{number}");
    let hash = hutong_record::request_hash(id.as_bytes());
    Ok(SaleCommand {
        request: RequestTag { id, hash },
        sold: clock::now(),
        card: None,
        amount: Money::new(Currency::CNY, 3_800)?,
        reference: String::new(),
    })
}
