//! What must hold for any bytes: asked by the fuzz targets, and by `tests/fuzz.rs` with seeds and random bytes.

use std::cell::OnceCell;

use meetabl_session::crypto::{KeyRing, Opened, Secret, is_plain_id, sign, verify};
use meetabl_session::session::{SessionId, merge, utf8_of};

const SECRET: &str = "the secret of the fuzz targets, long enough";
const EARLIER: &str = "an earlier secret of the fuzz targets, as long";

fn with_ring<T>(call: impl FnOnce(&KeyRing) -> T) -> T {
    thread_local!(static RING: OnceCell<KeyRing> = const { OnceCell::new() });
    RING.with(|ring| {
        call(ring.get_or_init(|| {
            let secrets =
                [SECRET, EARLIER].map(|text| Secret::from_text("secret", text.to_owned()).expect("long enough"));
            KeyRing::new(secrets.into()).expect("there are two")
        }))
    })
}

/// A Cookie header: what it opens to is what one of the secrets signed, and ids that may become keys are plain.
pub(crate) fn cookie_header(data: &[u8]) {
    // Node gives each byte of a header as one character.
    let header: String = data.iter().copied().map(char::from).collect();
    with_ring(|ring| {
        if let Opened::Signed { id, key } = ring.open(&header, "sid") {
            let secret = [SECRET, EARLIER][key];
            assert!(header.contains("sid"));
            assert!(verify(&id, &sign(&id, secret.as_bytes()), secret.as_bytes()));
            assert!(!is_plain_id(&id) || SessionId::parse(id).is_ok());
        }
    });
}

/// Bytes taken as a value: its signature is accepted, and no change of a byte is. Taken as a signed value: refused.
pub(crate) fn signed_value(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let signature = sign(&text, SECRET.as_bytes());
    assert!(verify(&text, &signature, SECRET.as_bytes()));
    assert!(!verify(&text, &signature, EARLIER.as_bytes()));
    assert!(!verify(&format!("{text}x"), &signature, SECRET.as_bytes()));
    let at = data.first().map_or(0, |byte| usize::from(*byte) % signature.len());
    let mut changed = signature.into_bytes();
    changed[at] ^= 1;
    assert!(!verify(&text, &String::from_utf8_lossy(&changed), SECRET.as_bytes()));
    if let Some((value, signature)) = text.rsplit_once('.') {
        assert_eq!(verify(value, signature, data), signature == sign(value, data));
    }
}

/// Bytes taken as a token: refused. Taken as a session id: its own token is accepted, and that of another id is not.
pub(crate) fn csrf_token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    with_ring(|ring| {
        assert_eq!(ring.verify_csrf("an-id-of-a-session", &text), None);
        let token = ring.csrf_token(&text).expect("random bytes");
        assert_eq!(ring.verify_csrf(&text, &token), Some(0));
        assert_eq!(ring.verify_csrf(&format!("{text}x"), &token), None);
        assert_eq!(ring.verify_csrf(&text, &format!("{token}A")), None);
    });
}

/// Bytes as three stored texts: merging them neither panics nor makes JSON into something else.
pub(crate) fn stored_json(data: &[u8]) {
    let mut texts = data.splitn(3, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let [base, ours, theirs] = [(); 3].map(|()| texts.next().unwrap_or_default());
    let _ = SessionId::parse(base.clone());
    let _ = utf8_of(&data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect::<Vec<_>>());
    if let Some(merged) = merge(&base, &ours, &theirs) {
        assert!(merged.starts_with('{') && serde_json::from_str::<&serde_json::value::RawValue>(&merged).is_ok());
    }
}
