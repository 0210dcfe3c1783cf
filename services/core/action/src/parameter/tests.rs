//! The border of each kind.

use super::*;

fn check(kind: Kind, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(kind.accepts(&Value::from(*text)), "{kind:?} must accept {text:?}");
    }
    for text in bad {
        assert!(!kind.accepts(&Value::from(*text)), "{kind:?} must refuse {text:?}");
    }
}

#[test]
fn each_kind_has_its_border() {
    check(Kind::RelativePath, &["a", "a/b.txt"], &["", "/a", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "ä"]);
    check(Kind::SettingKey, &["hostname", "network.mode"], &["", ".", "a.", "A", "a b"]);
    check(Kind::Url, &["http://10.0.2.2:8080/x"], &["https://x", "http:///x", "http://", "file:///etc", "http://a b"]);
    let path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0";
    check(
        Kind::StorePath,
        &[path],
        &["/nix/store/short-x", "/etc/passwd", &format!("{path}/bin"), &format!("{path}/")],
    );
    check(
        Kind::Program,
        &[&format!("{path}/bin/hello"), "app:greeter"],
        &[path, &format!("{path}/../x"), "/bin/sh", "app:", "app:../x", "app:a/b", "App:a"],
    );
    check(Kind::Choice(&["text", "base64"]), &["text", "base64"], &["", "hex", "text "]);
    let digest = "ab".repeat(32);
    check(Kind::Digest, &[&digest], &["", "ab", &digest.to_uppercase(), &digest[1..], &format!("{digest}a")]);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5";
    check(
        Kind::PersonKey,
        &[key, "sk-ssh-ed25519@openssh.com AAAA ada@desk"],
        &["", "ssh-ed25519", "ssh-rsa AAAA", &format!("{key}\n"), &format!(" {key}"), &key.replace("AAAA", "é")],
    );
    check(Kind::PersonKey, &[], &[&format!("command=\"x\" {key}"), &format!("{key} {}", "x".repeat(1024))]);
    let fingerprint = format!("SHA256:{}", "a".repeat(43));
    check(
        Kind::KeyFingerprint,
        &[&fingerprint],
        &["", "SHA256:", &fingerprint[1..], &format!("{fingerprint}="), &fingerprint.replace("SHA256", "MD5")],
    );
    check(Kind::Tag, &["v1", "kept.2026"], &["", "1", "a/b", "..", "a b", &"a".repeat(65)]);
    check(
        Kind::Host,
        &["10.0.2.2", "::1", "example.org", "a"],
        &["", ".", "a..b", "-a", "a-", "a b", "a_b", "http://a", &"a.".repeat(130)],
    );
    check(Kind::Moment, &["2026-11-21T10:30:00Z"], &["", "2026-11-21", "2026-02-30T00:00:00Z", "tomorrow"]);
    check(Kind::Value, &["text"], &["with\u{1b}escape", "bidi \u{202e} text"]);
}

#[test]
fn numbers_and_contents_have_their_borders() {
    let number = Kind::Number(1, 9);
    assert!(number.accepts(&json!(1)) && number.accepts(&json!(9)));
    for wrong in [json!(0), json!(10), json!(-1), json!(1.5), json!("1"), json!(null)] {
        assert!(!number.accepts(&wrong), "{wrong}");
    }
    let contents = Kind::Contents(4);
    let object = |name: &str, content: &str| json!({"name": name, "content": content});
    assert!(contents.accepts(&json!([object("a", "12"), object("b", "34")])));
    let many: Vec<_> = (0..17).map(|number| object(&format!("a{number}"), "")).collect();
    for wrong in [
        json!([]),
        json!(many),
        json!([object("a", "12345")]),
        json!([object("a", "123"), object("b", "45")]),
        json!([object("a", "1"), object("a", "2")]),
        json!([object("../a", "1")]),
        json!([{"name": "a"}]),
        json!([{"name": "a", "content": "1", "mode": 7}]),
        json!(["a"]),
        json!("a"),
    ] {
        assert!(!contents.accepts(&wrong), "{wrong}");
    }
}

#[test]
fn bytes_that_are_no_text_are_put_in_base64() {
    let content = |value: Value| object_content(value.as_object().expect("an object"));
    assert_eq!(content(json!({"content": "AP8="})), Ok(b"AP8=".to_vec()));
    assert_eq!(content(json!({"content": "AP8=", "encoding": "text"})), Ok(b"AP8=".to_vec()));
    assert_eq!(content(json!({"content": "AP8=", "encoding": "base64"})), Ok(vec![0, 255]));
    assert!(content(json!({"content": "AP8", "encoding": "base64"})).is_err());
}

#[test]
fn a_word_becomes_the_value_a_person_means() {
    assert_eq!(Kind::Value.from_word("true"), Value::Bool(true));
    assert_eq!(Kind::Value.from_word("12"), Value::from(12));
    assert_eq!(Kind::Value.from_word("box"), Value::from("box"));
    assert_eq!(Kind::Words.from_word("a b"), json!(["a", "b"]));
    assert_eq!(Kind::Text(9).from_word("12"), Value::from("12"));
    assert_eq!(Kind::Number(0, 99).from_word("12"), Value::from(12));
    assert_eq!(Kind::Number(0, 99).from_word("twelve"), Value::from("twelve"));
}
