//! A bundle is taken whole and as it was signed, or not at all.

use aios_policy::{Bundle, BundleError, CaseError, SealError, pack, public_key};
use proptest::prelude::*;

use crate::shipped::{SEED, pack_sources, shipped_sources};

const CASE: &str = "epoch = 3\n[[case]]\nwho = 'operator:ada'\ntype = 'node.reboot'\nexpect = 'allowed'\n";
const RULE: &str = "@id(\"power\")\npermit (principal is Operator, action == Action::\"node.reboot\", resource);\n";

fn small(rule: &str, case: &str) -> Result<Vec<u8>, BundleError> {
    pack([("rules.cedar", rule), ("bundle.toml", case)], &SEED)
}

fn refused(rule: &str) -> String {
    let error = small(rule, CASE).expect_err(rule);
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[test]
fn a_packed_bundle_opens_and_tells_its_epoch_signer_and_text() {
    let bundle = Bundle::open(&small(RULE, CASE).expect("packs"), &public_key(&SEED)).expect("opens");
    assert!(bundle.epoch().starts_with("3-"), "{}", bundle.epoch());
    assert_eq!(bundle.signer().len(), 64);
    assert!(bundle.text().contains(RULE));
}

#[test]
fn two_bundles_of_one_number_have_two_epochs() {
    let other = RULE.replace("power", "other");
    let epoch = |rule: &str| {
        let bytes = small(rule, CASE).expect("packs");
        Bundle::open(&bytes, &public_key(&SEED)).expect("opens").epoch().to_owned()
    };
    assert_ne!(epoch(RULE), epoch(&other));
}

#[test]
fn the_order_of_the_sources_does_not_change_the_bundle() {
    let mut sources = shipped_sources();
    let bytes = pack_sources(&sources).expect("packs");
    sources.reverse();
    assert_eq!(pack_sources(&sources).expect("packs"), bytes);
}

#[test]
fn another_key_is_refused() {
    let bytes = small(RULE, CASE).expect("packs");
    let error = Bundle::open(&bytes, &public_key(&[8; 32])).err().expect("another key");
    assert!(matches!(error, BundleError::Seal(SealError::Signer { .. })), "{error}");
    let forged = String::from_utf8(pack([("rules.cedar", RULE), ("bundle.toml", CASE)], &[8; 32]).expect("packs"))
        .expect("text")
        .replace(&hex(&public_key(&[8; 32])), &hex(&public_key(&SEED)));
    let error = Bundle::open(forged.as_bytes(), &public_key(&SEED)).err().expect("only the name was changed");
    assert!(matches!(error, BundleError::Seal(SealError::Signature)), "{error}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_flipped_byte_is_refused() {
    let bytes = small(RULE, CASE).expect("packs");
    let key = public_key(&SEED);
    for place in 0..bytes.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut flipped = bytes.clone();
            flipped[place] ^= mask;
            assert!(Bundle::open(&flipped, &key).is_err(), "byte {place} with {mask:#x}");
        }
    }
    for end in 0..bytes.len() {
        assert!(Bundle::open(&bytes[..end], &key).is_err(), "cut at {end}");
    }
    assert!(Bundle::open(&[&bytes[..], b"\n"].concat(), &key).is_err());
}

#[test]
fn a_bundle_that_is_too_long_is_not_read() {
    let error = Bundle::open(&vec![b' '; 1024 * 1024 + 1], &public_key(&SEED)).err().expect("too long");
    assert!(matches!(error, BundleError::Seal(SealError::Size(_))), "{error}");
}

#[test]
fn a_rule_that_could_be_misread_is_refused_with_its_place() {
    let permit = "permit (principal is Operator, action == Action::\"node.reboot\", resource)";
    for (rule, expected) in [
        ("@id(\"x\")\npermit (principal,\n  action\n  resource);".to_owned(), "rules.cedar is not Cedar: line 4"),
        (format!("{permit};"), "needs @id"),
        (format!("@id(\"Power!\")\n{permit};"), "needs @id"),
        (format!("@id(\"x\")\n{permit};\n@id(\"x\")\n{permit};"), "two rules have the id 'x'"),
        (format!("@id(\"x\")\n@aproval(\"person\")\n{permit};"), "@aproval"),
        (format!("@id(\"x\")\n@approval(\"nobody\")\n{permit};"), "@approval(\"nobody\")"),
        (format!("@id(\"x\")\n@says(\"no\")\n{permit};"), "@says"),
        (format!("@id(\"x\")\n@window(\"9-17\")\n{permit};"), "rule 'x' has @window(\"9-17\")"),
        (format!("@id(\"x\")\n@budget(\"cpu_ms=many\")\n{permit};"), "rule 'x' has @budget"),
        (format!("@id(\"x\")\n@plan(\"later\")\n{permit};"), "rule 'x' has @plan"),
        (format!("@id(\"x\")\n@mode(\"any\")\n{permit};"), "rule 'x' has @mode"),
        (format!("@id(\"x\")\n@redact(\"parameters\")\n{permit};"), "rule 'x' has @redact"),
        // A forbid that holds at times only would be a permit at others.
        (
            format!("@id(\"x\")\n@window(\"08:00-18:00\")\n{};", permit.replacen("permit", "forbid", 1)),
            "rule 'x' has @window",
        ),
        ("@id(\"x\")\npermit (principal == ?principal, action, resource);".to_owned(), "template"),
        ("@id(\"x\")\npermit (principal is Person, action, resource);".to_owned(), "do not fit the schema"),
        (format!("@id(\"x\")\n{permit} when {{ context.risk == 1 }};"), "do not fit the schema"),
        (
            "@id(\"x\")\npermit (principal, action == Action::\"shell.run\", resource);".to_owned(),
            "do not fit the schema",
        ),
        (
            "@id(\"x\")\npermit (principal, action == Action::\"node.reboot\", resource is Unit);".to_owned(),
            "do not fit the schema",
        ),
    ] {
        let text = refused(&rule);
        assert!(text.contains(expected), "{rule}\n{text}");
    }
}

#[test]
fn a_bundle_that_contradicts_its_own_cases_is_refused() {
    let error = small(RULE, &CASE.replace("allowed", "denied")).expect_err("another answer");
    assert!(matches!(&error, BundleError::Case(CaseError::Otherwise { number: 1, .. })), "{error:?}");
    let error = small(RULE, &CASE.replace("operator:ada", "root")).expect_err("no subject");
    assert!(matches!(&error, BundleError::Case(CaseError::Who { .. })), "{error:?}");
    assert!(matches!(small(RULE, "epoch = 1\ncase = []").expect_err("no cases"), BundleError::Empty));
    assert!(matches!(
        small(RULE, "epoch = 1\ncases = []").expect_err("misspelt"),
        BundleError::Case(CaseError::Form(_))
    ));
    let stray = pack([("notes.txt", "")], &SEED).expect_err("not a rule");
    assert!(matches!(stray, BundleError::Source(_)));
}

/// Cedar skips a rule that fails. Here nothing is skipped: the answer is no.
#[test]
fn a_rule_that_fails_while_it_is_asked_denies() {
    let failing = format!(
        "{RULE}@id(\"fails\")\nforbid (principal, action, resource) when {{ 9223372036854775807 + 1 == 0 }};\n"
    );
    let case = CASE.replace("'allowed'", "'denied'\nreason = 'PolicyError'");
    small(&failing, &case).expect("denied as the case says");
}

#[test]
fn a_plain_permit_does_not_take_away_the_person_that_another_wants() {
    let both = format!("{RULE}@approval(\"person\")\n{}", RULE.replace("power", "power-with-person"));
    small(&both, &CASE.replace("'allowed'", "'needs-approval'")).expect("the person stays");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Bundle::open(&bytes, &public_key(&SEED)).is_err());
    }

    #[test]
    fn no_rule_text_makes_the_compiler_panic(text in "[ -~\n]{0,200}", cases in "[ -~\n]{0,100}") {
        let _ = small(&text, CASE);
        let _ = small(RULE, &cases);
    }
}
