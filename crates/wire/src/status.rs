//! The one map from refusals to gRPC status codes, with what machines and people need to go on: a stable reason and
//! its facts (`ErrorInfo`), a text in the caller's language (`LocalizedMessage`), the field (`BadRequest`), and when to
//! try again (`RetryInfo`).

use std::{collections::HashMap, time::Duration};

use hutong_core::refusal::{Class, Language, Reason, Refusal};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `ErrorInfo.domain` of all refusals.
pub const ERROR_DOMAIN: &str = "hutong";
/// How long a caller should wait before it tries again, where nothing else is known.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// A voucher's home that did not answer while a till waited will hardly do so in the next moments.
const HOME_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The status that tells a refusal.
pub fn refused(refusal: &Refusal, language: Language) -> Status {
    let code = match refusal.reason.class() {
        Class::Invalid => Code::InvalidArgument,
        Class::NotFound => Code::NotFound,
        Class::Forbidden => Code::PermissionDenied,
        Class::State => Code::FailedPrecondition,
        Class::Exists => Code::AlreadyExists,
        Class::Later => Code::Unavailable,
        Class::Unauthenticated => Code::Unauthenticated,
        Class::Internal => Code::Internal,
        Class::Exhausted => Code::ResourceExhausted,
    };
    let facts: HashMap<_, _> = refusal.facts.iter().cloned().collect();
    let text = refusal.text(language);
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason.code(), ERROR_DOMAIN, facts);
    details.set_localized_message(locale(language), text.clone());
    if let (Reason::FieldInvalid, Some(field)) = (refusal.reason, refusal.fact("field")) {
        details.add_bad_request_violation(field, refusal.fact("why").unwrap_or_default());
    }
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        details.set_retry_info(Some(retry_after(refusal)));
    }
    // The status message is for developers, and ASCII: it travels in a header.
    Status::with_error_details(code, refusal.text(Language::English), details)
}

/// When another try may fare better.
fn retry_after(refusal: &Refusal) -> Duration {
    match refusal.fact("retry_ms").and_then(|ms| ms.parse().ok()) {
        Some(ms) => Duration::from_millis(ms),
        None if refusal.reason == Reason::HomeUnreachable => HOME_RETRY_AFTER,
        None => RETRY_AFTER,
    }
}

/// The language that a caller asks for.
pub fn language(metadata: &MetadataMap) -> Language {
    let wanted = metadata.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.trim_start().to_ascii_lowercase().starts_with("zh") {
        Language::Chinese
    } else {
        Language::English
    }
}

const fn locale(language: Language) -> &'static str {
    match language {
        Language::Chinese => "zh-CN",
        Language::English => "en",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_tells_reason_facts_and_text() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason).with("quota", 3);
            let status = refused(&refusal, Language::Chinese);
            let details = status.get_error_details();
            let info = details.error_info().expect("error info");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.code(), "hutong"));
            assert_eq!(info.metadata["quota"], "3");
            let localized = details.localized_message().expect("text");
            assert_eq!(localized.message, refusal.text(Language::Chinese));
            assert!(status.message().is_ascii(), "{}", status.message());
        }
    }

    #[test]
    fn a_bad_field_is_named_and_a_busy_node_says_when_to_try_again() {
        let status = refused(&Refusal::field("amount", "is negative"), Language::English);
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, "amount");
        let busy = refused(&Refusal::new(Reason::Busy), Language::English);
        assert_eq!(busy.code(), Code::Unavailable);
        assert!(busy.get_error_details().retry_info().is_some());
        let wait = |refusal| {
            let status = refused(&refusal, Language::English);
            status.get_error_details().retry_info().and_then(|info| info.retry_delay)
        };
        let locked_out = Refusal::new(Reason::TooManyTries).with("retry_ms", 12_345);
        assert_eq!(wait(locked_out), Some(Duration::from_millis(12_345)));
        assert_eq!(wait(Refusal::new(Reason::HomeUnreachable)), Some(HOME_RETRY_AFTER));
        assert_eq!(wait(Refusal::new(Reason::VoucherExpired)), None);
    }

    #[test]
    fn chinese_is_spoken_to_those_who_ask() {
        let mut metadata = MetadataMap::new();
        assert_eq!(language(&metadata), Language::English);
        metadata.insert("accept-language", "zh-CN,zh;q=0.9".parse().unwrap());
        assert_eq!(language(&metadata), Language::Chinese);
    }
}
