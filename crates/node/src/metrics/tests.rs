use std::{collections::BTreeSet, path::PathBuf};

use super::*;

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every series' name: a histogram has three.
fn series() -> BTreeSet<String> {
    let of = |row: &Row| match row.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", row.name)).to_vec(),
        _ => vec![row.name.to_owned()],
    };
    TABLE.iter().flat_map(of).collect()
}

/// The names of our metrics in an expression of PromQL.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("hutong_") || w.starts_with("process_")).map(str::to_owned).collect()
}

#[test]
fn the_table_is_what_is_told() {
    let exposition = Exposition::default();
    let text = exposition.text();
    for row in TABLE {
        let family = row.name.strip_suffix("_total").unwrap_or(row.name);
        let told = text.contains(&format!("# TYPE {family} {}\n", row.kind.word()));
        // What is broken down by labels is told once there is something to tell.
        assert_eq!(told, row.labels.is_empty(), "{}\n{text}", row.name);
        assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
        assert!(!row.help.is_empty() && !row.help.ends_with('.'), "{}", row.name);
    }
    assert!(TABLE.len() >= 25);
    let distinct: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(distinct.len(), TABLE.len());
    assert!(text.ends_with("# EOF\n"));
}

/// `HUTONG_DOCS=write cargo test -p hutong-node metrics` writes it anew.
#[test]
fn the_page_of_metrics_is_that_of_the_table() {
    if std::env::var("HUTONG_DOCS").is_ok_and(|value| value == "write") {
        std::fs::write(deploy("METRICS.md"), reference()).unwrap();
    }
    assert!(read("METRICS.md") == reference(), "deploy/METRICS.md: run with HUTONG_DOCS=write");
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/hutong.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels of one id: {panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let found = names(target["expr"].as_str().unwrap());
            assert!(!found.is_empty(), "{target}");
            asked.extend(found);
        }
    }
    let known = series();
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(asked.len() >= 25, "{}", asked.len());
}

/// The alerts' rules are kept in a form so plain that lines tell all: `- alert:`, `expr:`, `runbook:`.
fn alerts() -> Vec<(String, String, String)> {
    let text = read("prometheus/alerts.yml");
    let value = |line: &str, key: &str| line.trim().strip_prefix(key).map(|rest| rest.trim().to_owned());
    let mut alerts: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = value(line, "- alert:") {
            alerts.push((name, String::new(), String::new()));
        }
        let Some(last) = alerts.last_mut() else { continue };
        if let Some(expression) = value(line, "expr:") {
            last.1 = expression;
        }
        if let Some(page) = value(line, "runbook:") {
            last.2 = page;
        }
    }
    alerts
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_each_has_a_page() {
    let alerts = alerts();
    assert!(alerts.len() >= 12, "{}", alerts.len());
    let known = series();
    let mut pages = BTreeSet::new();
    for (name, expression, runbook) in &alerts {
        let found = names(expression);
        // `up` is Prometheus' own.
        assert!(!found.is_empty() || expression.starts_with("up{"), "{name}: {expression}");
        assert!(found.is_subset(&known), "{name}: {expression}");
        assert_eq!(*runbook, format!("deploy/runbook/{name}.md"));
        let page = read(&format!("runbook/{name}.md"));
        for part in ["# ", "## What it means", "## What to look at", "## What to do"] {
            assert!(page.contains(part), "{name}: {part}");
        }
        pages.insert(format!("{name}.md"));
    }
    let there: BTreeSet<_> = std::fs::read_dir(deploy("runbook"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(there, pages, "a page for every alert, and for no other");
}

#[test]
fn names_in_expressions_are_found() {
    let found = names("sum by (le) (rate(hutong_a_bucket{x=\"1\"}[5m])) / process_b > 3");
    assert_eq!(found, ["hutong_a_bucket", "process_b"].map(str::to_owned).into());
}
