use super::*;

fn findings(language: Language) -> Findings {
    Findings { language, checks: Vec::new() }
}

fn verdicts(findings: &Findings) -> Vec<(&'static str, Verdict)> {
    findings.checks.iter().map(|check| (check.name, check.verdict)).collect()
}

#[tokio::test]
async fn an_empty_folder_fails_with_advice_in_the_caller_s_language() {
    let temporary = tempfile::tempdir().unwrap();
    let data = DataFolder::new(temporary.path());
    let mut zh = findings(Language::Zh);
    check_folder(&mut zh, &data);
    check_keys(&mut zh, &data);
    assert!(check_config(&mut zh, &data).is_none());
    assert!(check_node(&mut zh, &data).await.is_none());
    assert_eq!(verdicts(&zh), [("folder", Verdict::Fail)]);
    assert!(zh.checks[0].advice.contains("建立"));
    let answer = zh.answer();
    assert_eq!(answer.json()["healthy"], false);
    assert_eq!(answer.json()["checks"][0]["status"], "fail");
    assert_eq!(answer.exit_code(), ExitCode::FAILURE);
}

#[test]
fn a_clock_that_was_never_set_or_went_back_fails() {
    let verdict = |now_ms, status: Option<&proto::GetStatusResponse>| {
        let mut found = findings(Language::En);
        check_clock(&mut found, UnixMillis::new(now_ms).unwrap(), status);
        found.checks[0].verdict
    };
    assert_eq!(verdict(0, None), Verdict::Fail);
    assert_eq!(verdict(CLOCK_MS_MIN, None), Verdict::Ok);
    let started = proto::GetStatusResponse {
        start_time: Some(Timestamp { seconds: CLOCK_MS_MIN / 1_000 + 60, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(verdict(CLOCK_MS_MIN, Some(&started)), Verdict::Fail);
    assert_eq!(verdict(CLOCK_MS_MIN + 59_000, Some(&started)), Verdict::Ok);
}

#[test]
fn little_space_warns_and_none_fails() {
    for (free_bytes, verdict) in
        [(0, Verdict::Fail), (DISK_FREE_BYTES_MIN, Verdict::Warn), (u64::MAX, Verdict::Ok)]
    {
        let mut found = findings(Language::En);
        judge_disk(&mut found, free_bytes);
        assert_eq!(verdicts(&found), [("disk", verdict)]);
    }
}

#[test]
fn a_port_in_use_is_found() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(port_problem(held.local_addr().unwrap()), Some(ErrorKind::AddrInUse));
    assert_eq!(port_problem("127.0.0.1:0".parse().unwrap()), None);
}

#[test]
fn links_that_are_all_down_warn_with_the_reason() {
    let link = |connected, error: &str| proto::Link {
        connected,
        shop_name: "茶馆".to_owned(),
        last_error: error.to_owned(),
        ..Default::default()
    };
    let judge = |links, paused| {
        let mut found = findings(Language::En);
        let alliances = vec![proto::AllianceStatus { links, ..Default::default() }];
        check_status(
            &mut found,
            &proto::GetStatusResponse { alliances, federation_paused: paused, ..Default::default() },
        );
        found
    };
    let down = judge(vec![link(false, "timed out"), link(false, "")], false);
    assert_eq!(
        verdicts(&down),
        [("storage", Verdict::Ok), ("signing", Verdict::Ok), ("links", Verdict::Warn)]
    );
    assert!(down.checks[2].found.contains("茶馆: timed out"));
    assert!(down.healthy());
    let up = judge(vec![link(true, ""), link(false, "refused")], false);
    assert_eq!(verdicts(&up)[2], ("links", Verdict::Ok));
    let paused = judge(vec![link(false, "")], true);
    assert_eq!(
        verdicts(&paused),
        [("links", Verdict::Warn), ("storage", Verdict::Ok), ("signing", Verdict::Ok)]
    );
}

#[test]
fn a_shop_that_may_not_sign_is_told_why_and_what_to_do() {
    let cases = [("", Verdict::Ok), ("STARTED", Verdict::Warn), ("TAIL_TORN", Verdict::Warn)];
    let failing = ["TAIL_DAMAGED", "MOVED", "SHARED", "FORKED", "OF_A_NEWER_PROGRAM"];
    for (doubt, verdict) in cases.into_iter().chain(failing.map(|doubt| (doubt, Verdict::Fail))) {
        let mut texts = Vec::new();
        for language in [Language::En, Language::Zh] {
            let mut found = findings(language);
            let signing_doubt = doubt.to_owned();
            check_signing(&mut found, &proto::AllianceStatus { signing_doubt, ..Default::default() });
            assert_eq!(verdicts(&found), [("signing", verdict)], "{doubt}");
            assert_eq!(found.checks[0].advice.is_empty(), verdict == Verdict::Ok, "{doubt}");
            texts.push(found.checks[0].found.clone());
        }
        assert_ne!(texts[0], texts[1], "{doubt}");
    }
}
