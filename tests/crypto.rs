//! Signatures, CSRF tokens and cookies: what was made is accepted, anything else is not, and nothing panics.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::collections::HashSet;

use meetabl_session::crypto::{KeyRing, Opened, Secret, is_plain_id, new_session_id, sign, verify};
use proptest::prelude::*;

const SECRETS: [&str; 3] =
    ["the first secret, long enough for it", "the second secret, also long enough", "a third secret that is no member"];

fn ring(secrets: &[&str]) -> KeyRing {
    KeyRing::new(secrets.iter().map(|text| Secret::from_text("secret", (*text).to_owned()).unwrap()).collect()).unwrap()
}

fn cookie(ring: &KeyRing, id: &str) -> String {
    format!("sid={}", ring.seal(id))
}

fn signed(id: &str, key: usize) -> Opened {
    Opened::Signed { id: id.to_owned(), key }
}

/// Cookie headers from nearly right to hopeless.
fn header() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "\\PC{0,60}",
        "s:[A-Za-z0-9_-]{0,50}(\\.[A-Za-z0-9+/=_-]{0,50})?",
        "(s%3A|s%253A|s:)(%[0-9A-F]{2}|%[g-z]|[a-z.]){0,20}",
        "\"s:[a-z]{0,5}\\.[a-z]{0,5}\"?",
    ];
    let pair = prop_oneof![
        value.prop_map(|value| format!("sid={value}")),
        "[a-z_]{0,9}(=[a-z]{0,5})?",
        Just("__proto__=x".to_owned()),
        Just("sid".to_owned()),
    ];
    prop::collection::vec(pair, 0..6).prop_map(|pairs| pairs.join("; "))
}

/// Every text that differs from an ASCII text in one bit, and still is text.
fn bit_flips(text: &str) -> Vec<String> {
    let flips = (0..text.len() * 8).filter_map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    });
    flips.collect()
}

#[test]
fn signatures_are_those_of_cookie_signature() {
    // Made with `require('cookie-signature').sign('hello', 'tobiiscool')`.
    assert_eq!(sign("hello", b"tobiiscool"), "DGDUkGlIkCzPz+C0B064FNgHdEjox7ch8tOBGslZ5QI");
}

#[test]
fn every_bit_flip_of_a_signature_is_refused() {
    let secret = SECRETS[0].as_bytes();
    let signature = sign("a-session-id", secret);
    let flips = bit_flips(&signature);
    assert!(flips.len() >= 7 * signature.len());
    for flip in flips {
        assert!(!verify("a-session-id", &flip, secret), "{flip}");
    }
}

#[test]
fn every_bit_flip_of_a_csrf_token_is_refused() {
    let ring = ring(&SECRETS[..1]);
    let token = ring.csrf_token("a-session-id").unwrap();
    for flip in bit_flips(&token) {
        assert_eq!(ring.verify_csrf("a-session-id", &flip), None, "{flip}");
    }
}

/// CVE-2020-8166: one key for two purposes.
#[test]
fn a_cookie_signature_is_no_csrf_token_and_the_reverse() {
    let ring = ring(&SECRETS[..1]);
    let id = "an-id-of-a-session";
    let token = ring.csrf_token(id).unwrap();
    let (random, mac) = token.split_once('.').unwrap();
    let url_safe = |text: &str| text.replace('+', "-").replace('/', "_");
    let standard = |text: &str| text.replace('-', "+").replace('_', "/");

    let signature = sign(id, SECRETS[0].as_bytes());
    assert_eq!(ring.verify_csrf(id, &format!("{random}.{}", url_safe(&signature))), None);
    // Nor the signature of exactly the bytes that the token's MAC covers, without their length.
    assert_eq!(ring.verify_csrf(id, &format!("{random}.{}", url_safe(&sign(random, SECRETS[0].as_bytes())))), None);
    for value in [id, random, &format!("{id}.{random}")] {
        assert_eq!(ring.open(&format!("sid=s:{value}.{}", standard(mac)), "sid"), Opened::Forged);
    }
}

#[test]
fn a_token_is_good_for_one_id_and_each_is_fresh() {
    let ring = ring(&SECRETS[..1]);
    let [one, two] = [ring.csrf_token("id").unwrap(), ring.csrf_token("id").unwrap()];
    assert_ne!(one, two);
    assert_eq!(ring.verify_csrf("id", &one), Some(0));
    for other in ["", "i", "id2", "ID", "id\0"] {
        assert_eq!(ring.verify_csrf(other, &one), None);
    }
    assert_eq!(ring.verify_csrf("id", &"a".repeat(1 << 20)), None);
}

#[test]
fn the_first_secret_signs_all_verify_and_a_removed_one_is_refused() {
    let [before, during, after] = [ring(&SECRETS[1..2]), ring(&SECRETS[..2]), ring(&SECRETS[..1])];
    let old = cookie(&before, "id");
    let token = before.csrf_token("id").unwrap();
    assert_eq!(during.open(&old, "sid"), signed("id", 1));
    assert_eq!(during.verify_csrf("id", &token), Some(1));
    assert_eq!(during.open(&cookie(&during, "id"), "sid"), signed("id", 0));
    assert_eq!(after.open(&cookie(&during, "id"), "sid"), signed("id", 0));
    assert_eq!(after.open(&old, "sid"), Opened::Forged);
    assert_eq!(after.verify_csrf("id", &token), None);
}

/// OWASP ASVS 5.0, 11.2.3.
#[test]
fn a_short_secret_is_refused_by_name_and_not_shown() {
    let short = "x".repeat(31);
    let errors = [
        Secret::from_text("SESSION_SECRET", short.clone()).unwrap_err(),
        Secret::from_text("SESSION_SECRET", "€".repeat(31)).unwrap_err(),
        Secret::from_bytes("SESSION_SECRET", short.as_bytes()).unwrap_err(),
        Secret::from_text("SESSION_SECRET", String::new()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "ERR_INVALID_OPTION");
        assert!(error.to_string().contains("SESSION_SECRET") && error.to_string().contains("32"));
        assert!(!error.to_string().contains("xxx"));
    }
    assert_eq!(KeyRing::new(Vec::new()).unwrap_err().code(), "ERR_INVALID_OPTION");
}

#[test]
fn no_secret_is_printed() {
    let shown = format!("{:?}", ring(&SECRETS));
    assert!(!shown.contains("secret,") && shown.contains("REDACTED"), "{shown}");
}

/// OWASP ASVS 5.0, 7.2.3.
#[test]
fn a_million_ids_are_unique_and_plain() {
    let ids: HashSet<String> = (0..1_000_000).map(|_| new_session_id().unwrap()).collect();
    assert_eq!(ids.len(), 1_000_000);
    assert!(ids.iter().all(|id| id.len() == 43 && is_plain_id(id)));
    // 256 bits: no place of the text is the same in all of them.
    let sample: Vec<_> = ids.iter().take(1000).collect();
    for at in 0..43 {
        let letters: HashSet<_> = sample.iter().map(|id| id.as_bytes()[at]).collect();
        // The last letter holds four bits.
        assert!(letters.len() >= 16, "place {at} has {} letters", letters.len());
    }
}

#[test]
fn the_cookie_cases() {
    let ring = ring(&SECRETS[..2]);
    let id = "an-id-of-a-session";
    let good = ring.seal(id);
    let signature = good.rsplit_once('.').unwrap().1;
    let encoded = good.replace(':', "%3A").replace('+', "%2B").replace('/', "%2F");
    let expectations = [
        (String::new(), Opened::Absent),
        ("sid".to_owned(), Opened::Absent),
        ("__proto__=x".to_owned(), Opened::Absent),
        ("sidx=1; xsid=2".to_owned(), Opened::Absent),
        (format!("SID={good}"), Opened::Absent),
        ("sid=".to_owned(), Opened::Unsigned),
        ("sid=s:".to_owned(), Opened::Unsigned),
        (format!("sid={id}"), Opened::Unsigned),
        (format!("sid={}", encoded.replace('%', "%25")), Opened::Unsigned),
        ("sid=s:.".to_owned(), Opened::Forged),
        (format!("sid=s:{id}."), Opened::Forged),
        (format!("sid={good}="), Opened::Forged),
        (format!("sid={}", &good[..good.len() - 1]), Opened::Forged),
        (format!("sid=s:another-id.{signature}"), Opened::Forged),
        (format!("sid={}", super_encoded(&good)), signed(id, 0)),
        (format!("sid={good}"), signed(id, 0)),
        (format!("sid={encoded}"), signed(id, 0)),
        (format!("a=1;sid=\"{good}\" ;b=2"), signed(id, 0)),
        (format!("%=%; =; ;;sid = {good}"), signed(id, 0)),
        (format!("sid={good}; sid=x"), signed(id, 0)),
        (format!("sid=x; sid={good}"), Opened::Unsigned),
        (format!("sid=%zz{good}"), Opened::Unsigned),
        (cookie(&ring, ""), signed("", 0)),
    ];
    for (header, expected) in expectations {
        assert_eq!(ring.open(&header, "sid"), expected, "{header}");
    }
}

/// Every byte percent-encoded: allowed, if odd.
fn super_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

#[test]
fn two_thousand_tiny_cookies_are_read() {
    let ring = ring(&SECRETS[..1]);
    let header = format!("{}{}", "a=1; ".repeat(2000), cookie(&ring, "an-id"));
    assert_eq!(ring.open(&header, "sid"), signed("an-id", 0));
}

#[test]
fn only_plain_ids_are_plain() {
    for id in [
        "*",
        "a-session-id\r\nDEL x",
        "a-session-id-\0-null",
        "../../../../etc/passwd",
        "{tag}-session-id-1",
        "",
        "tooshort",
        &"x".repeat(129),
        "a session id with spaces",
        "session-ïd-with-umlaut",
    ] {
        assert!(!is_plain_id(id), "{id:?}");
    }
    for id in [&"x".repeat(16), &"-_".repeat(64), &new_session_id().unwrap()] {
        assert!(is_plain_id(id), "{id:?}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens(id in "\\PC{0,60}", before in "([a-z]{1,5}=[a-z]{0,5}; ){0,3}") {
        // A cookie's own delimiters are percent-encoded on their way.
        let ring = ring(&SECRETS[..1]);
        let value = super_encoded(&ring.seal(&id));
        prop_assert_eq!(ring.open(&format!("{before}sid={value}"), "sid"), signed(&id, 0));
    }

    #[test]
    fn any_header_is_read_without_a_panic_and_never_accepted(header in header()) {
        let opened = ring(&SECRETS).open(&header, "sid");
        prop_assert!(!matches!(opened, Opened::Signed { .. }), "{:?}", opened);
    }

    #[test]
    fn any_signature_but_the_right_one_is_refused(value in "\\PC{0,30}", signature in "\\PC{0,60}", secret in any::<Vec<u8>>()) {
        prop_assert_eq!(verify(&value, &signature, &secret), signature == sign(&value, &secret));
        let right = sign(&value, &secret);
        prop_assert!(verify(&value, &right, &secret));
    }

    #[test]
    fn any_token_but_a_made_one_is_refused(id in "\\PC{0,60}",
                                           token in prop_oneof!["\\PC{0,80}", "[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}"]) {
        let ring = ring(&SECRETS);
        prop_assert_eq!(ring.verify_csrf(&id, &token), None);
        let made = ring.csrf_token(&id).unwrap();
        prop_assert_eq!(ring.verify_csrf(&id, &made), Some(0));
    }

    #[test]
    fn no_id_and_random_part_can_be_shifted_into_each_other(id in "[a-z]{2,20}", cut in 1_usize..20) {
        let ring = ring(&SECRETS[..1]);
        let token = ring.csrf_token(&id).unwrap();
        let shorter = &id[..cut.min(id.len() - 1)];
        prop_assert_eq!(ring.verify_csrf(shorter, &token), None);
    }
}
