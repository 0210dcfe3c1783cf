//! Headers that were damaged, cut off or made up.

use std::io;
use std::sync::LazyLock;

use aios_luks::{Formatted, Header, HeaderError, RecoveryKey, Room, format};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Bytes of a copy of a header that is made here.
const COPY: usize = 0x4000;

static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut next = 0_u8;
    let mut random = |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_mul(5).wrapping_add(3);
            *byte = next;
        });
        Ok(())
    };
    let recovery_key = RecoveryKey::new(&[1; RecoveryKey::RANDOM]);
    let made = format(b"x", &recovery_key, &mut random, Room { kib: 1 << 20 });
    let Formatted { header, .. } = made.expect("made");
    header
});

fn read(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    Header::read(&|offset, to: &mut [u8]| {
        let offset = usize::try_from(offset).expect("small");
        let from = bytes.get(offset..offset + to.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(from);
        Ok(())
    })
}

/// A copy with another description, under a checksum that fits.
fn with_description(text: &str) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let mut copy = MADE[..COPY].to_vec();
    copy[4096..].fill(0);
    let length = text.len().min(COPY - 4096 - 1);
    copy[4096..4096 + length].copy_from_slice(&text.as_bytes()[..length]);
    copy[448..512].fill(0);
    let checksum = Sha256::digest(&copy);
    copy[448..480].copy_from_slice(&checksum);
    copy
}

fn description() -> String {
    MADE[4096..COPY].iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

#[test]
fn one_whole_copy_is_enough_and_none_is_told() {
    let good = read(&MADE).expect("good").expect("a header");
    for damaged in [&[5000][..], &[COPY + 5000]] {
        let mut bytes = MADE.clone();
        damaged.iter().for_each(|at| bytes[*at] ^= 1);
        assert_eq!(read(&bytes).expect("one is whole").as_ref(), Some(&good), "{damaged:?}");
    }
    let mut bytes = MADE.clone();
    bytes[5000] ^= 1;
    bytes[COPY + 5000] ^= 1;
    let error = read(&bytes).expect_err("none is whole").to_string();
    assert!(error.contains("checksum does not fit"), "{error}");
    assert!(read(&[]).expect("nothing").is_none() && read(&[0; 8192]).expect("nothing").is_none());
}

#[test]
fn a_description_that_would_lead_astray_is_refused() {
    let good: Value = serde_json::from_str(&description()).expect("JSON");
    assert!(read(&with_description(&good.to_string())).expect("good").is_some());
    for (part, key, value) in [
        ("/segments/0", "offset", json!("4096")),
        ("/segments/0", "offset", json!("18446744073709551104")),
        ("/segments/0", "offset", json!(-1)),
        ("/segments/0", "size", json!("0")),
        ("/segments/0", "size", json!("100")),
        ("/segments/0", "sector_size", json!(0)),
        ("/segments/0", "sector_size", json!(520)),
        ("/digests/0", "segments", json!([])),
        ("/digests/0", "hash", json!("sha1")),
        ("/config", "keyslots_size", json!("18446744073709551615")),
        ("/config", "json_size", json!("12287")),
        ("/config", "requirements", json!({"mandatory": ["online-reencrypt"]})),
    ] {
        let mut changed = good.clone();
        let part_of = changed.pointer_mut(part).and_then(Value::as_object_mut).expect(part);
        part_of.insert(key.to_owned(), value.clone());
        assert!(read(&with_description(&changed.to_string())).is_err(), "{part}/{key} as {value}");
    }
}

/// A slot that cannot be used is left out, whatever is wrong with it, and the other one still opens.
#[test]
fn a_slot_that_cannot_be_used_hides_no_other() {
    let good = description();
    for (from, to) in [
        ("\"memory\":65536", "\"memory\":4294967295"),
        ("\"offset\":\"32768\"", "\"offset\":\"0\""),
        ("\"offset\":\"32768\"", "\"offset\":\"18446744073709551615\""),
        ("\"type\":\"argon2id\"", "\"type\":\"scrypt\""),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from} is not in {good}");
        let mut bytes = with_description(&changed);
        bytes.extend_from_slice(&MADE[COPY..]);
        // The second copy is older, or the same: the first one counts.
        let header = read(&bytes).expect("good").expect("a header");
        let from_bytes = |offset: u64, to: &mut [u8]| {
            let offset = usize::try_from(offset).expect("small");
            to.copy_from_slice(bytes.get(offset..offset + to.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        let recovery_key = RecoveryKey::new(&[1; RecoveryKey::RANDOM]).text();
        let opened = header.unlock(&from_bytes, recovery_key.as_bytes(), Room { kib: 0 }).expect("tried");
        assert!(opened.is_some(), "{from} as {to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(mut head in prop::collection::vec(any::<u8>(), 0..9000), ours in any::<bool>()) {
        if ours && head.len() > 512 {
            head[..16].copy_from_slice(&MADE[..16]);
            head[256..264].fill(0);
        }
        let _ = read(&head);
    }

    #[test]
    fn any_flipped_byte_is_noticed_or_means_nothing(at in 0..COPY, with in 1..=255_u8) {
        let mut bytes = MADE[..COPY].to_vec();
        bytes[at] ^= with;
        // Without its mark it is no header, and everything else is under the checksum.
        match read(&bytes) {
            Ok(None) => prop_assert!(at < 6),
            Ok(Some(_)) => prop_assert!((480..512).contains(&at), "byte {at}"),
            Err(_) => {}
        }
    }

    #[test]
    fn no_description_makes_it_panic(at in 0..1500_usize, with in "[\\-0-9{}\",a-z]{0,6}", cut in 0..6_usize) {
        let mut text = description();
        let at = at.min(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &with);
        if let Ok(Some(header)) = read(&with_description(&text)) {
            // Nothing of its slots is on this disk.
            let none = |_: u64, _: &mut [u8]| Err(io::ErrorKind::UnexpectedEof.into());
            let _ = header.unlock(&none, b"x", Room { kib: 0 });
        }
    }
}
