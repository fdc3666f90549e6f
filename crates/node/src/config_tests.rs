use super::*;

const MINIMAL: &str = "[shop]\nname = \"张记包子\"\n";

fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hutong.toml");
    std::fs::write(&path, toml).unwrap();
    Config::load_with(&path, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problem(toml: &str, variables: &[(&str, &str)]) -> String {
    load(toml, variables).unwrap_err().to_string()
}

#[test]
fn a_name_is_enough() {
    let config = load(MINIMAL, &[]).unwrap();
    assert_eq!(config.peer.listen.to_string(), "0.0.0.0:7710");
    assert_eq!(config.merchant.listen.to_string(), "127.0.0.1:7711");
    assert_eq!(config.storage.views_cache_bytes, 67_108_864);
    assert!(problem("", &[]).contains("shop"));
}

#[test]
fn unknown_sections_and_keys_are_named() {
    for (toml, key) in [
        ("[shop]\nname = \"a\"\nnmae = \"b\"", "nmae"),
        ("[shop]\nname = \"a\"\n[pear]\n", "pear"),
        ("[shop]\nname = \"a\"\n[peer]\nlisen = \"x\"", "lisen"),
        ("[shop]\nname = \"a\"\n[merchant]\nport = 1", "port"),
        ("[shop]\nname = \"a\"\n[storage]\ncache = 1", "cache"),
        ("[shop]\nname = \"a\"\n[log]\nlevel = \"info\"", "level"),
    ] {
        assert!(problem(toml, &[]).contains(key), "{}", problem(toml, &[]));
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        "[shop]\nname = \"a\"\n[peer]\nlisten = \"127.0.0.1:1\"",
        &[
            ("HUTONG_PEER__LISTEN", "127.0.0.1:2"),
            ("HUTONG_PEER__ADVERTISE", "shop.example.com:7710, [2001:db8::7]:7710"),
            ("HUTONG_SHOP__NAME", "007"),
            ("HUTONG_STORAGE__VIEWS_CACHE_BYTES", "8388608"),
            ("HUTONG_LOG__FORMAT", "json"),
            ("HUTONG_MERCHANT__LISTEN", "0.0.0.0:7711"),
            ("HUTONG_MERCHANT__ALLOW_PLAINTEXT_LAN", "true"),
            ("HUTONG_DATA", "/var/lib/hutong"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.peer.listen.address().map(|at| at.port()), Some(2));
    assert_eq!(config.peer.advertise.len(), 2);
    assert_eq!(config.shop.name, "007");
    assert_eq!(config.storage.views_cache_bytes, 8 << 20);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.merchant.allow_plaintext_lan);
}

#[test]
fn a_variable_that_sets_nothing_is_named() {
    for name in ["HUTONG_PEER__LISEN", "HUTONG_PEAR__LISTEN", "HUTONG_PEER__LISTEN__X", "HUTONG___"] {
        let message = problem(MINIMAL, &[(name, "1")]);
        assert!(message.starts_with(name) && message.contains("HUTONG_PEER__LISTEN"), "{message}");
    }
}

#[test]
fn values_out_of_bounds_are_refused_by_key() {
    for (variable, value, key) in [
        ("HUTONG_SHOP__NAME", "", "shop.name"),
        ("HUTONG_SHOP__NAME", "a\nb", "shop.name"),
        (
            "HUTONG_SHOP__CATEGORY",
            "一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十一",
            "shop.category",
        ),
        ("HUTONG_MERCHANT__LISTEN", "0.0.0.0:7711", "merchant.listen"),
        ("HUTONG_PEER__LISTEN", "127.0.0.1:7711", "merchant.listen"),
        ("HUTONG_STORAGE__VIEWS_CACHE_BYTES", "1", "storage.views_cache_bytes"),
        ("HUTONG_LOG__FILTER", "hutong=loud", "log.filter"),
        ("HUTONG_PEER__LISTEN", "localhost", "peer.listen"),
        ("HUTONG_PEER__ADVERTISE", "shop", "peer.advertise"),
        ("HUTONG_LOG__FORMAT", "xml", "log.format"),
    ] {
        let message = problem(MINIMAL, &[(variable, value)]);
        assert!(message.contains(key), "{variable}={value}: {message}");
    }
}

#[test]
fn every_setting_can_be_overridden() {
    let serde_json::Value::Object(sections) = serde_json::to_value(load(MINIMAL, &[]).unwrap()).unwrap()
    else {
        panic!("a configuration has sections");
    };
    let keys = sections.iter().flat_map(|(section, keys)| {
        keys.as_object().unwrap().keys().map(move |key| format!("{section}.{key}")).collect::<Vec<_>>()
    });
    let mut found: Vec<_> = keys.collect();
    let mut known = KEYS.map(str::to_owned).to_vec();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn what_init_writes_reads_back() {
    let mut config = load(MINIMAL, &[]).unwrap();
    config.shop.name = "Tom's \"best\" \\ 包子".to_owned();
    config.peer.advertise = vec!["a.example:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
    assert_eq!(load(&config.to_toml(), &[]).unwrap(), config);
}

#[test]
fn a_concrete_address_is_advertised_and_all_interfaces_are_not() {
    let mut peer = Peer::default();
    assert_eq!(peer.advertised("0.0.0.0:7710".parse().ok()), []);
    assert_eq!(peer.advertised("192.0.2.7:7710".parse().ok())[0].as_str(), "192.0.2.7:7710");
    peer.advertise = vec!["shop.example.com:7710".parse().unwrap()];
    assert_eq!(peer.advertised("192.0.2.7:7710".parse().ok()), peer.advertise);
}

#[test]
fn only_a_host_and_a_port_can_be_dialled() {
    for right in ["a:1", "shop.example.com:7710", "192.0.2.7:65535", "[2001:db8::7]:7710"] {
        assert_eq!(right.parse::<HostPort>().unwrap().as_str(), right);
    }
    for wrong in ["", "a", "a:", ":1", "a:0", "a:65536", "2001:db8::7:1", "[x]:1", "a b:1", "http://a:1"] {
        assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
    }
}

#[test]
fn pages_are_named_by_their_origin() {
    let origins = |list: &str| load(&format!("{MINIMAL}[merchant]\ncors_origins = {list}"), &[]);
    let config =
        origins(r#"["https://shop.example.com", "http://localhost:8080", "http://[::1]:3000"]"#).unwrap();
    assert_eq!(config.merchant.cors_origins.len(), 3);
    let variable = [("HUTONG_MERCHANT__CORS_ORIGINS", "https://a.example, https://b.example:8443")];
    assert_eq!(load(MINIMAL, &variable).unwrap().merchant.cors_origins.len(), 2);
    for bad in [
        "*",
        "shop.example.com",
        "https://",
        "https://a.example/",
        "https://a.example/x",
        "https://A.example",
        "https://a:x",
    ] {
        assert!(
            problem(&format!("{MINIMAL}[merchant]\ncors_origins = [\"{bad}\"]"), &[]).contains("origin"),
            "{bad}"
        );
    }
    let many = vec!["\"https://a.example\""; 17].join(",");
    assert!(problem(&format!("{MINIMAL}[merchant]\ncors_origins = [{many}]"), &[]).contains("at most 16"));
    let shown = origins(r#"["https://shop.example.com"]"#).unwrap();
    assert_eq!(load(&shown.to_toml(), &[]).unwrap(), shown);
    assert!(!shown.merchant.webhook_allow_http);
}

#[test]
fn a_node_that_listens_nowhere_tells_no_address_and_must_not_be_given_one() {
    let peer = Peer { listen: "none".parse().unwrap(), ..Peer::default() };
    assert_eq!((peer.listen.address(), peer.listen.to_string().as_str()), (None, "none"));
    assert_eq!(peer.advertised(None), []);
    assert!("nowhere".parse::<PeerListen>().is_err() && "10.0.0.1".parse::<PeerListen>().is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hutong.toml");
    std::fs::write(&path, "[shop]\nname = \"tea\"\n[peer]\nlisten = \"none\"\n").unwrap();
    let config = Config::load_with(&path, std::iter::empty()).unwrap();
    assert_eq!(config.peer.listen, PeerListen::None);
    std::fs::write(&path, config.to_toml()).unwrap();
    assert_eq!(Config::load_with(&path, std::iter::empty()).unwrap(), config, "written and read again");
    let told = "[shop]\nname = \"tea\"\n[peer]\nlisten = \"none\"\nadvertise = [\"tea.example.com:7710\"]\n";
    std::fs::write(&path, told).unwrap();
    let wrong = Config::load_with(&path, std::iter::empty()).unwrap_err();
    assert!(matches!(wrong, ConfigError::Value { key: "peer.advertise", .. }), "{wrong}");
}
