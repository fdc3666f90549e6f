use super::*;

fn cli(arguments: &[&str]) -> Cli {
    Cli::try_parse_from([&["hutong"], arguments].concat()).unwrap()
}

fn code(arguments: &[&str]) -> ExitCode {
    parse([&["hutong"], arguments].concat().into_iter().map(OsString::from)).unwrap_err()
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_global_set()) {
            let named = format!("{} {}", command.get_name(), argument.get_id());
            assert!(argument.get_help().is_some(), "{named}");
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn global_options_stand_anywhere() {
    let cli = cli(&["voucher", "list", "--json", "--alliance", "abcd", "--data", "/d", "--lang", "zh", "-q"]);
    assert!(cli.globals.json && cli.globals.quiet);
    assert_eq!(cli.globals.language(), Language::Zh);
    assert_eq!(cli.globals.data().unwrap().path(), std::path::Path::new("/d"));
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(code(&["voucher", "redeem", "--json"]), ExitCode::from(2));
    assert_eq!(code(&["sale", "report", "--amount", "-1"]), ExitCode::from(2));
    assert_eq!(code(&["nonsense"]), ExitCode::from(2));
    assert_eq!(code(&["--help"]), ExitCode::SUCCESS);
    assert_eq!(code(&["--version"]), ExitCode::SUCCESS);
}

#[test]
fn a_promotion_has_one_benefit_and_one_end() {
    const TERMS: [&str; 10] = [
        "promotion",
        "create",
        "--title",
        "t",
        "--distributor",
        "a=1",
        "--redeemer",
        "b",
        "--budget",
        "100.00",
    ];
    let parses = |more: &[&str]| Cli::try_parse_from([&["hutong"], &TERMS[..], more].concat()).is_ok();
    assert!(parses(&["--amount-off", "8.00", "--runs-for", "30d"]));
    assert!(parses(&[
        "--percent-off",
        "15",
        "--percent-off-max",
        "20.00",
        "--end",
        "2026-06-01T00:00:00+08:00"
    ]));
    assert!(parses(&["--amount-off", "8.00", "--runs-for", "30d", "--mode", "anywhere", "--redeemer", "c"]));
    assert!(!parses(&["--amount-off", "8.00", "--runs-for", "30d", "--risk-per-voucher-max", "1.00"]));
    assert!(!parses(&["--amount-off", "8.00", "--runs-for", "30d", "--risk-offline-max", "1d"]));
    assert!(!parses(&["--runs-for", "30d"]));
    assert!(!parses(&["--amount-off", "8.00"]));
    assert!(!parses(&[
        "--amount-off",
        "8.00",
        "--percent-off",
        "15",
        "--percent-off-max",
        "1",
        "--runs-for",
        "30d"
    ]));
    assert!(!parses(&["--percent-off", "15", "--runs-for", "30d"]));
    assert!(!parses(&["--amount-off", "8.00", "--runs-for", "30d", "--end", "2026-06-01T00:00:00Z"]));
}

#[test]
fn offsets_west_of_greenwich_are_no_options() {
    cli(&["alliance", "create", "--name", "a", "--utc-offset", "-03:30"]);
}

#[test]
fn the_locale_chooses_the_language() {
    let language = |set: &[(&str, &str)]| {
        language_of(|name| set.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned()))
    };
    assert_eq!(language(&[]), Language::En);
    assert_eq!(language(&[("LANG", "zh_CN.UTF-8")]), Language::Zh);
    assert_eq!(language(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "en_GB.UTF-8")]), Language::En);
    assert_eq!(language(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW")]), Language::Zh);
}

#[test]
fn completions_cover_the_commands() {
    let answer = completions(clap_complete::Shell::Bash);
    assert!(answer.json()["script"].as_str().unwrap().contains("hutong__"));
}

#[tokio::test]
async fn without_a_node_the_error_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap();
    let error = answer(cli(&["status", "--data", folder])).await.unwrap_err();
    assert!(problem::text(&error).contains("hutong init"), "{error}");
    let chinese = problem::text_in(&error, Language::Zh);
    assert_eq!(chinese, format!("{folder} 中没有节点：请用 `hutong init` 建立"));

    let made = answer(cli(&["init", "--name", "a", "--data", folder])).await.unwrap();
    assert_eq!(made.json()["data"], folder);
    let error = answer(cli(&["status", "--data", folder])).await.unwrap_err();
    assert!(problem::text(&error).contains("hutong serve"), "{error}");
    assert_eq!(problem::json(&error)["error"]["reason"], "NODE_NOT_RUNNING");

    let stale = DataFolder::new(folder);
    stale.write_merchant_address("127.0.0.1:1".parse().unwrap()).unwrap();
    let error = answer(cli(&["voucher", "list", "--data", folder])).await.unwrap_err();
    assert_eq!(problem::json(&error)["error"]["reason"], "NODE_NOT_RUNNING");
}

#[tokio::test]
async fn config_answers_have_a_form() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap();
    answer(cli(&["init", "--name", "a", "--data", folder])).await.unwrap();
    let check = answer(cli(&["config", "check", "--data", folder])).await.unwrap();
    assert_eq!(check.json()["valid"], true);
    let show = answer(cli(&["config", "show", "--data", folder])).await.unwrap();
    assert_eq!(show.json()["config"]["shop"]["name"], "a");
}
