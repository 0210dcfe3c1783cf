//! Planning what to fetch: records that the trusted key vouches for, each after those it refers to.
//!
//! A [`Record`] exists only for a record whose signature holds, so whoever has one may believe what it says of the path:
//! digest, size and references. The cache's address of the archive is not signed; it is only checked to stay in the cache.

use std::collections::BTreeMap;

use aios_ids::Digest;
use nix_derivation::{HashAlgorithm, NixHash, StoreDir, StorePath};
use nix_narinfo::{Compression, NarInfo, ParseError, TrustedPublicKey};

use super::cache::CacheError;

/// The largest closure: a desktop's is a third of it.
const PATHS_LIMIT: usize = 4096;

/// The largest single tree, unpacked.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024 * 1024;

/// A record of a path, vouched for by the trusted key.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    info: NarInfo,
    nar_hash: Digest,
    file_hash: Option<Digest>,
}

/// What to fetch, in order.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Each after those it refers to.
    pub(crate) records: Vec<Record>,
    /// What is referred to and is there already.
    pub(crate) present: Vec<StorePath>,
}

/// A closure cannot be planned; nothing was fetched of it but records.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The cache has no record of it, or cannot be reached.
    #[error("the record of {path} cannot be had")]
    Cache {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: CacheError,
    },
    /// The record is no record.
    #[error("the record of {path} cannot be read")]
    Record {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The trusted key does not vouch for it.
    #[error(
        "no signature of the trusted key '{key}' vouches for {path} ({others}); check the key, or distrust this cache"
    )]
    Signature {
        /// The path.
        path: String,
        /// The trusted key's name.
        key: String,
        /// Which signatures there are.
        others: String,
    },
    /// The record says something that cannot be used.
    #[error("the record of {path} was refused: {reason}")]
    Refused {
        /// The path.
        path: String,
        /// What it says.
        reason: &'static str,
    },
    /// Paths refer to each other in a circle.
    #[error("{path} refers to itself through others, which no real store has")]
    Circle {
        /// One of them.
        path: String,
    },
    /// It refers to too much.
    #[error("it needs more than {PATHS_LIMIT} paths")]
    TooMany,
}

impl Record {
    /// Reads the record that a cache gave for `path` and believes it only for a signature of `key`.
    pub(crate) fn verified(bytes: &[u8], path: &StorePath, key: &TrustedPublicKey) -> Result<Self, PlanError> {
        let name = || path.to_absolute_path();
        let store = StoreDir::default();
        let info = NarInfo::parse_in(&store, bytes).map_err(|source| PlanError::Record { path: name(), source })?;
        if !info.has_valid_signature(&store, std::slice::from_ref(key)) {
            let others: Vec<_> = info.signatures().iter().map(|s| s.key_name.escape_default().to_string()).collect();
            let others = if others.is_empty() {
                "it has no signature".into()
            } else {
                format!("it names {}", others.join(", "))
            };
            return Err(PlanError::Signature { path: name(), key: key.name.clone(), others });
        }
        let refused = |reason| PlanError::Refused { path: name(), reason };
        if info.store_path() != path {
            return Err(refused("it is the record of another path"));
        }
        if info.nar_size() > SIZE_LIMIT {
            return Err(refused("its tree is larger than 4 GiB"));
        }
        if !matches!(info.compression(), Compression::None | Compression::Xz | Compression::Zstd) {
            return Err(refused("its compression is not none, xz or zstd"));
        }
        if !is_place_in_cache(info.url()) {
            return Err(refused("its archive is not in the cache: the URL must be a plain relative path"));
        }
        let nar_hash = sha256(info.nar_hash()).ok_or_else(|| refused("its NarHash is not SHA-256"))?;
        let file_hash = match info.file_hash() {
            Some(hash) => Some(sha256(hash).ok_or_else(|| refused("its FileHash is not SHA-256"))?),
            None => None,
        };
        Ok(Self { info, nar_hash, file_hash })
    }

    pub(crate) fn info(&self) -> &NarInfo {
        &self.info
    }

    pub(crate) fn path(&self) -> &StorePath {
        self.info.store_path()
    }

    /// The digest of the archive, unpacked from its compression: the signed one.
    pub(crate) fn nar_hash(&self) -> Digest {
        self.nar_hash
    }

    /// The digest of the archive as it is fetched; the signature does not cover it.
    pub(crate) fn file_hash(&self) -> Option<Digest> {
        self.file_hash
    }
}

impl Plan {
    /// Walks from `wanted` along the references of verified records; `record` asks the cache, `present` the store.
    pub(crate) fn make(
        wanted: &StorePath,
        key: &TrustedPublicKey,
        record: impl Fn(&StorePath) -> Result<Vec<u8>, CacheError>,
        present: impl Fn(&StorePath) -> bool,
    ) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        let mut visits = BTreeMap::new();
        let mut open: Vec<(Record, Vec<StorePath>)> = Vec::new();
        let mut next = Some(wanted.clone());
        loop {
            if let Some(path) = next.take() {
                match visits.get(&path) {
                    Some(Visit::Done) => {}
                    Some(Visit::Open) => return Err(PlanError::Circle { path: path.to_absolute_path() }),
                    None if visits.len() == PATHS_LIMIT => return Err(PlanError::TooMany),
                    None if present(&path) => {
                        visits.insert(path.clone(), Visit::Done);
                        plan.present.push(path);
                    }
                    None => {
                        let bytes = record(&path)
                            .map_err(|source| PlanError::Cache { path: path.to_absolute_path(), source })?;
                        let record = Record::verified(&bytes, &path, key)?;
                        let others = record.info.references().iter().filter(|other| **other != path).cloned().collect();
                        visits.insert(path, Visit::Open);
                        open.push((record, others));
                    }
                }
            }
            let Some((_, references)) = open.last_mut() else { return Ok(plan) };
            next = references.pop();
            if next.is_none()
                && let Some((record, _)) = open.pop()
            {
                visits.insert(record.path().clone(), Visit::Done);
                plan.records.push(record);
            }
        }
    }

    /// The size of everything that is to be fetched, unpacked.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.info.nar_size()).sum()
    }
}

enum Visit {
    /// Its references are being walked.
    Open,
    /// It is in the plan or in the store.
    Done,
}

fn sha256(hash: &NixHash) -> Option<Digest> {
    let bytes = hash.digest_as_bytes().try_into().ok()?;
    (hash.algorithm() == HashAlgorithm::Sha256).then(|| Digest::from_bytes(bytes))
}

/// Relative, downwards, without a query or an escape.
fn is_place_in_cache(url: &str) -> bool {
    url.len() <= 256
        && url.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._=".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "test-1:E2kLv4Vkwed83eOtH1WlSLLevAIZSW380QWNsnW0LZc=";
    const LIB: &str = "4vsg1x2z3pjvshdqzpwq2z61v5pdbsb9-lib.txt";
    const PROG: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-prog";

    // Written and signed by Nix 2.8.
    const LIB_RECORD: &str = "StorePath: /nix/store/4vsg1x2z3pjvshdqzpwq2z61v5pdbsb9-lib.txt
URL: nar/04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw.nar
Compression: none
FileHash: sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw
FileSize: 120
NarHash: sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw
NarSize: 120
References: 
Sig: test-1:RD10yT2q/z0laToQ7aymuQfQbbMBpXdOGuNYpm0AxXWKbrDDfHlXiTmyo+xudnCSh9e95qGLtIt1oTdvl1e2AA==
CA: fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw
";
    const PROG_RECORD: &str = "StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-prog
URL: nar/1wbxi6gr1wp5kxmssp3nw4rjbcj55i1q510hyw216g3mdc2akyaj.nar.zst
Compression: zstd
FileHash: sha256:1wbxi6gr1wp5kxmssp3nw4rjbcj55i1q510hyw216g3mdc2akyaj
FileSize: 241
NarHash: sha256:1nxs1pw39psfykjs2i43xqg0036mv133ngkzla40hgf47fz73d1s
NarSize: 728
References: 4vsg1x2z3pjvshdqzpwq2z61v5pdbsb9-lib.txt
Sig: test-1:jAVKtiDjfYig4j14NpZNUS9vXWpIVI7DYe8fOLvmZXjBWFuR+53RhQAjLgyJoNLPVGkXmTwMYK0qpmChQif3Dw==
";

    fn path(base: &str) -> StorePath {
        StorePath::from_basename(base.as_bytes()).expect("a path")
    }

    fn key() -> TrustedPublicKey {
        TrustedPublicKey::parse(KEY).expect("a key")
    }

    fn verified(record: &str, base: &str) -> Result<Record, PlanError> {
        Record::verified(record.as_bytes(), &path(base), &key())
    }

    fn plan(present: &[&str]) -> Vec<String> {
        let record = |path: &StorePath| match path.to_basename().as_str() {
            LIB => Ok(LIB_RECORD.into()),
            PROG => Ok(PROG_RECORD.into()),
            _ => Err(CacheError::TooLong { url: String::new() }),
        };
        let plan = Plan::make(&path(PROG), &key(), record, |path| present.contains(&path.to_basename().as_str()));
        plan.expect("a plan").records.iter().map(|record| record.path().to_basename()).collect()
    }

    #[test]
    fn what_is_referred_to_comes_first_and_what_is_there_is_left_out() {
        assert_eq!(plan(&[]), [LIB, PROG]);
        assert_eq!(plan(&[LIB]), [PROG]);
        assert!(plan(&[PROG]).is_empty());
    }

    #[test]
    fn every_signed_word_counts() {
        assert!(verified(PROG_RECORD, PROG).is_ok());
        for (from, to) in [
            ("NarSize: 728", "NarSize: 729"),
            ("NarHash: sha256:1nxs", "NarHash: sha256:0nxs"),
            ("References: 4vsg1x2z3pjvshdqzpwq2z61v5pdbsb9-lib.txt", "References: "),
            ("/nix/store/00bgd045", "/nix/store/10bgd045"),
            ("Sig: test-1:jAVK", "Sig: test-1:kAVK"),
            ("Sig: test-1:", "Sig: other-1:"),
            ("Sig: ", "Gis: "),
        ] {
            let record = PROG_RECORD.replacen(from, to, 1);
            assert_ne!(record, PROG_RECORD, "{from}");
            assert!(matches!(verified(&record, PROG), Err(PlanError::Signature { .. })), "{from}");
        }
    }

    #[test]
    fn a_record_answers_only_for_its_own_path() {
        assert!(matches!(verified(LIB_RECORD, PROG), Err(PlanError::Refused { .. })));
    }

    #[test]
    fn the_unsigned_place_stays_in_the_cache() {
        for place in ["../x", "/x", "http://192.0.2.1/x", "nar/../../x", "nar//x", "nar/x?y", "nar/%2e%2e/x", "nar/.x"]
        {
            let record = LIB_RECORD.replacen(
                "URL: nar/04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw.nar",
                &format!("URL: {place}"),
                1,
            );
            assert!(matches!(verified(&record, LIB), Err(PlanError::Refused { .. })), "{place}");
        }
    }

    #[test]
    fn the_key_of_the_same_name_must_be_the_same_key() {
        let impostor = TrustedPublicKey::parse("test-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=").expect("a key");
        let refused = Record::verified(PROG_RECORD.as_bytes(), &path(PROG), &impostor);
        assert!(matches!(refused, Err(PlanError::Signature { .. })));
    }

    proptest! {
        #[test]
        fn a_changed_record_is_refused_or_says_the_same(place in 0..PROG_RECORD.len(), byte in 0x20_u8..0x7f) {
            let mut bytes = PROG_RECORD.as_bytes().to_vec();
            bytes[place] = byte;
            if let Ok(record) = Record::verified(&bytes, &path(PROG), &key()) {
                let store = StoreDir::default();
                let signed = NarInfo::parse_in(&store, PROG_RECORD.as_bytes()).expect("a record");
                prop_assert_eq!(record.info.fingerprint(&store), signed.fingerprint(&store));
            }
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Record::verified(&bytes, &path(PROG), &key()).is_err());
        }
    }
}
