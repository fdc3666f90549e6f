//! How the figures grow: each at a size, at 10 and at 100 times that size, and by which power of the size.

use std::time::Instant;

use anyhow::Context as _;
use hutong_core::attribution::{Model, Nulls, Order};
use serde_json::{Map, Value, json};

use super::{
    Plan, equal,
    fanout::one_record,
    figures::{Series, round},
    ingest, rebuild, report,
    street::{Content, Street},
};
use crate::alliance::AllianceFolder;

/// Records: from a day of a shop to a season of a street.
const RECORDS: [usize; 3] = [1_000, 10_000, 100_000];
const SHOPS: [usize; 3] = [5, 50, 500];
const GREETINGS: usize = 200;

/// Three sizes and what each took.
struct Row {
    of: &'static str,
    unit: &'static str,
    sizes: [usize; 3],
    values: [f64; 3],
}

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut rows = Map::new();
    for (name, row) in rows_of_records(plan).await?.into_iter().chain(rows_of_shops(plan)?) {
        rows.insert(name.into(), row.json());
    }
    Ok(rows.into())
}

impl Row {
    /// The power of the size that the value grows by, from each size to the next: 1 is in proportion, 0 not at all.
    fn powers(&self) -> [f64; 2] {
        #[allow(clippy::cast_precision_loss)]
        let power = |n: usize| {
            let (size, value) =
                (self.sizes[n + 1] as f64 / self.sizes[n] as f64, self.values[n + 1] / self.values[n]);
            (100.0 * value.log10() / size.log10()).round() / 100.0
        };
        [power(0), power(1)]
    }

    fn json(&self) -> Value {
        json!({
            "sizes_in": self.of,
            "sizes": self.sizes,
            "values_in": self.unit,
            "values": self.values.map(round),
            "grows_by_the_power_of_the_size": self.powers(),
        })
    }
}

async fn rows_of_records(plan: &Plan) -> anyhow::Result<Vec<(&'static str, Row)>> {
    let (mut took_in, mut folded, mut opened, mut disk) = ([0.0; 3], [0.0; 3], [0.0; 3], [0.0; 3]);
    for (place, count) in RECORDS.into_iter().enumerate() {
        let ingested = ingest::records(plan, 1, Content::Public, count).await?;
        #[allow(clippy::cast_precision_loss)]
        let seconds = |measured: &Value| {
            let rate = measured["records_per_s"]["median"].as_f64().filter(|rate| *rate > 0.0);
            rate.map(|rate| count as f64 / rate).context("no rate was measured")
        };
        took_in[place] = seconds(&ingested)?;
        disk[place] = ingested["journal_times_the_records"]["median"].as_f64().unwrap_or_default();
        folded[place] = seconds(&rebuild::others(plan, count).await?)?;
        opened[place] = open(plan, count).await?;
    }
    let row = |unit, values| Row { of: "records", unit, sizes: RECORDS, values };
    Ok(vec![
        ("ingest_of_1_log", row("s", took_in)),
        ("journal_times_the_records", row("times", disk)),
        ("rebuild", row("s", folded)),
        ("open", row("s", opened)),
    ])
}

/// Opening journal and views in this process.
async fn open(plan: &Plan, count: usize) -> anyhow::Result<f64> {
    let mut street = Street::new(20)?;
    let folder = AllianceFolder::new(plan.home.folder("growth")?);
    let mut ledger = street.found(&folder).await?;
    ledger.take_in(street.write(Content::Public, count)?).await?;
    let mut seconds = Series::default();
    for _ in 0..plan.runs {
        ledger.close().await;
        let start = Instant::now();
        ledger = street.open(&folder)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    ledger.close().await;
    Ok(seconds.median())
}

fn rows_of_shops(plan: &Plan) -> anyhow::Result<Vec<(&'static str, Row)>> {
    let markov = Model::Markov(Order::new(1).context("order 1")?, Nulls::With);
    let [mut greeting, mut bytes, mut fanout, mut shapley, mut chain, mut netting] = [[0.0; 3]; 6];
    for (place, shops) in SHOPS.into_iter().enumerate() {
        let (took, said) = equal::greetings(shops, GREETINGS);
        (greeting[place], bytes[place]) = (took.ms(0.5), f64::from(u32::try_from(said.bytes)?));
        fanout[place] = f64::from(u32::try_from(one_record(shops)?.ms)?);
        let members = u32::try_from(shops)?;
        let paths = report::paths(members, shops * report::PATHS / SHOPS[2])?;
        let debts = report::debts(members, shops * report::DEBTS / SHOPS[2]);
        shapley[place] = median(plan, || report::credit(members, &paths, Model::Shapley))?;
        chain[place] = median(plan, || report::credit(members, &paths, markov))?;
        netting[place] = median(plan, || report::net(&debts))?;
    }
    let row = |unit, values| Row { of: "shops", unit, sizes: SHOPS, values };
    Ok(vec![
        ("equal_state_cpu", row("ms", greeting)),
        ("equal_state_wire", row("bytes", bytes)),
        ("fanout", row("ms", fanout)),
        ("shapley_100_paths_a_shop", row("s", shapley)),
        ("markov_order_1_100_paths_a_shop", row("s", chain)),
        ("netting_40_debts_a_shop", row("s", netting)),
    ])
}

fn median(plan: &Plan, mut once: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut series = Series::default();
    for _ in 0..plan.runs {
        series.push(once()?);
    }
    Ok(series.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_tells_proportion_from_square() {
        let row = |values| Row { of: "records", unit: "s", sizes: [1, 10, 100], values };
        let powers = |values| row(values).powers().map(|power| format!("{power:.1}"));
        assert_eq!(powers([1.0, 10.0, 1_000.0]), ["1.0", "2.0"]);
        assert_eq!(powers([3.0, 3.0, 3.0]), ["0.0", "0.0"]);
    }
}
