//! The evidence log: what a writer, a reader and somebody with an export send.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aios_evidence::{
    Checkpoint, Clock, Ed25519Key, Filter, InclusionBundle, KeySource, Kind, Line, MlDsaKey, RECORD_LIMIT, Record,
    ResourcePath, SigningKey, VerifierKey, encode_bundle_entry, sample, split_bundle, verify_export,
};
use aios_ids::Digest;
use serde_json::json;

use crate::{Taken, choice, text};

/// A small log, whole and signed.
struct Log {
    key: VerifierKey,
    entries: Vec<String>,
    head: Checkpoint,
    files: BTreeMap<String, Vec<u8>>,
    proof: InclusionBundle,
}

/// The entry that [`Log::proof`] proves.
const PROVED: u64 = 2;

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let key = sample::key();
        let entries = records(&key);
        let tree = sample::tree(&entries);
        let head = sample::head(&tree);
        let files = sample::export(&entries, &key);
        let signed = head.sign(&key);
        let path = tree.inclusion(PROVED, tree.size()).expect("an entry of this tree");
        let proof = InclusionBundle { index: PROVED, path, checkpoint: signed };
        Log { key: key.public().clone(), entries, head, files, proof }
    })
}

fn records(key: &SigningKey) -> Vec<String> {
    let payloads = [
        (Kind::Boot, sample::pins(key)),
        (Kind::Decision, json!({"verdict": "denied", "decision": {"verdict": {"verdict": "denied"}}})),
        (Kind::Outcome, json!({"held": true, "seen": ["a", 1, null, {"b": "\u{1f600}\n\""}]})),
        (Kind::Login, json!({"result": "refused"})),
        (Kind::Result, json!({"result": {"state": "succeeded"}})),
    ];
    let record = |(index, (kind, payload)): (u64, (Kind, serde_json::Value))| Record {
        index,
        kind,
        writer: "service:policy-kernel".into(),
        subject: if index == 1 { "agent:\"x\\" } else { "operator:ada" }.into(),
        action: "act_1".into(),
        digest: (index == 1).then(|| Digest::of(b"x")),
        epoch: "1-a".into(),
        boot: "b".into(),
        at_ms: index,
        wall: 1_700_000_000_000 + index,
        clock: Clock::Local,
        payload: payload.as_object().expect("an object").clone(),
    };
    (0..).zip(payloads).map(record).map(|record| record.encode().expect("short")).collect()
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    log().entries.iter().map(|entry| entry.clone().into_bytes()).collect()
}

pub(crate) fn entry(bytes: &[u8]) -> Taken {
    let line = Line::parse(bytes);
    let Ok(record) = Record::decode(bytes) else {
        assert!(line.is_err(), "an export with this line verifies, and its record cannot be read");
        return Taken::No;
    };
    assert!(line.is_ok() && bytes.len() <= RECORD_LIMIT);
    let again = record.encode().expect("what was read can be written");
    assert_eq!(again.as_bytes(), bytes, "a record has two forms");
    Taken::Yes
}

/// A seed for each file of the log: its place among the files and its bytes.
pub(crate) fn files() -> Vec<Vec<u8>> {
    let numbered = (0u8..).zip(log().files.values());
    numbered.map(|(number, bytes)| [&[number], bytes.as_slice()].concat()).collect()
}

pub(crate) fn tile(bytes: &[u8]) -> Taken {
    let Some((number, content)) = choice(bytes) else { return Taken::No };
    let Log { key, files, .. } = log();
    if let Some(path) = text(content).and_then(|name| name.parse::<ResourcePath>().ok()) {
        assert_eq!(Some(path.to_string().as_str()), text(content), "a file has two names");
    }
    rejoins(content);
    let (name, own) = files.iter().nth(usize::from(number) % files.len()).expect("there are files");
    let read = |wanted: &str| {
        let file = if wanted == name { Some(content.to_vec()) } else { files.get(wanted).cloned() };
        file.ok_or_else(|| "not there".to_owned())
    };
    let accepted = verify_export(&read, KeySource::Pinned(&key.ed25519_line())).is_ok();
    // Who has the head can sign it once more with a key that nobody asks; everything else has one form.
    if name != "checkpoint" {
        assert_eq!(accepted, content == own, "{name} was changed, and the log verifies");
    }
    Taken::when(accepted)
}

/// What a bundle is split into makes the bundle again.
fn rejoins(bytes: &[u8]) {
    let (mut rest, mut again) = (bytes, Vec::new());
    while let Some((entry, after)) = split_bundle(rest) {
        if entry.len() <= RECORD_LIMIT {
            encode_bundle_entry(entry, &mut again);
            assert!(bytes.starts_with(&again));
        }
        assert!(after.len() < rest.len());
        if entry.len() > RECORD_LIMIT {
            return;
        }
        rest = after;
    }
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    let Log { key, files, .. } = log();
    let lines = [key.to_string(), key.ed25519_line(), key.ml_dsa_line()].map(String::into_bytes);
    [files["checkpoint"].clone()].into_iter().chain(lines).collect()
}

pub(crate) fn checkpoint(bytes: &[u8]) -> Taken {
    let Log { key, head, .. } = log();
    let read = Checkpoint::unverified(bytes);
    if let Ok(read) = &read {
        assert!(bytes.starts_with(read.text().as_bytes()), "a checkpoint has two forms");
    }
    if let Ok(opened) = Checkpoint::open(bytes, key) {
        assert_eq!((&opened, read.as_ref().ok()), (head, Some(&opened)), "a head was forged");
    }
    let mut taken = read.is_ok();
    if let Some(line) = text(bytes) {
        let written = [
            line.parse::<VerifierKey>().map(|key| key.to_string()),
            line.parse::<Ed25519Key>().map(|key| key.to_string()),
            line.parse::<MlDsaKey>().map(|key| key.to_string()),
        ];
        for written in written.into_iter().flatten() {
            taken = true;
            assert_eq!(written, line, "a key has two forms");
        }
    }
    Taken::when(taken)
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    vec![log().proof.text().into_bytes()]
}

pub(crate) fn proof(bytes: &[u8]) -> Taken {
    let Some(read) = text(bytes).and_then(|text| InclusionBundle::parse(text).ok()) else { return Taken::No };
    assert_eq!(read.text().as_bytes(), bytes, "a proof has two forms");
    let Log { key, entries, head, proof, .. } = log();
    for (index, entry) in (0u64..).zip(entries) {
        if let Ok(opened) = read.verify(entry.as_bytes(), key) {
            assert_eq!(&opened, head, "a head was forged");
            assert_eq!(index, read.index, "an entry is proved at another place");
            assert!(index != PROVED || read.path == proof.path, "an entry has two ways to the root");
        }
    }
    Taken::Yes
}

pub(crate) fn queries() -> Vec<Vec<u8>> {
    let texts = [
        "{}",
        r#"{"kind":"decision","subject":"agent:\"x\\","action":"act_1","outcome":"denied"}"#,
        r#"{"subject":"service:policy-kernel","after":1,"from":1700000000000,"until":1800000000000,"limit":3}"#,
        r#"{"text":"held","outcome":"held"}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn query(bytes: &[u8]) -> Taken {
    let Ok(filter) = serde_json::from_slice::<Filter>(bytes) else { return Taken::No };
    let again = serde_json::to_string(&filter).expect("a filter has only text keys");
    assert_eq!(serde_json::from_str::<Filter>(&again).ok().as_ref(), Some(&filter));
    for entry in &log().entries {
        assert_eq!(filter.matches(entry), Some(slowly(&filter, entry)), "{filter:?} on {entry}");
    }
    Taken::Yes
}

/// The answer from the record as it is read whole, without the shortcuts of the search.
fn slowly(filter: &Filter, entry: &str) -> bool {
    let record = Record::decode(entry.as_bytes()).expect("a record of the log");
    filter.text.as_ref().is_none_or(|text| entry.contains(text))
        && filter.kind.is_none_or(|kind| kind == record.kind)
        && filter.subject.as_ref().is_none_or(|wanted| [&record.subject, &record.writer].contains(&wanted))
        && filter.action.as_ref().is_none_or(|wanted| *wanted == record.action)
        && filter.after.is_none_or(|after| record.index > after)
        && filter.from.is_none_or(|from| record.wall >= from)
        && filter.until.is_none_or(|until| record.wall <= until)
        && filter.outcome.as_ref().is_none_or(|wanted| record.outcome() == Some(wanted.as_str()))
}
