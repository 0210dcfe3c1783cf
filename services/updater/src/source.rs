//! Where a release is fetched from: a folder of files, on this machine or over plain HTTP.
//!
//! Nothing that comes from here is believed: the description is signed, each file has its size and digest in it, and
//! each block of the root its place in the hash tree. So the transport needs no secrecy and no identity.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use aios_settings::ReleaseSource;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A release's folder.
#[derive(Debug)]
pub(crate) enum Source {
    /// On this machine.
    Folder(PathBuf),
    /// On a server; with a slash at the end.
    Http { base: String, agent: ureq::Agent },
}

/// A file of the release cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot open '{}'", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot fetch {url}")]
    Fetch {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("cannot read {name} from its source")]
    Read {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{name} is longer than the {limit} bytes it may have")]
    TooLong { name: &'static str, limit: u64 },
}

impl Source {
    /// Prepares fetching from there; nothing is fetched yet.
    pub(crate) fn of(source: ReleaseSource) -> Self {
        let base = match source {
            ReleaseSource::Folder(path) => return Self::Folder(path),
            ReleaseSource::Http(base) => base,
        };
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            // A server that points elsewhere could make this program talk to whatever listens there.
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build()
            .into();
        Self::Http { base: format!("{}/", base.trim_end_matches('/')), agent }
    }

    /// The beginning of a file, as a stream of at most `limit` bytes.
    pub(crate) fn open(&self, name: &'static str, limit: u64) -> Result<Box<dyn Read>, SourceError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let file = File::open(&path).map_err(|source| SourceError::Open { path, source })?;
                Ok(Box::new(file.take(limit)))
            }
            Self::Http { base, agent } => {
                let url = format!("{base}{name}");
                let answer = agent.get(&url).call();
                let answer = answer.map_err(|source| SourceError::Fetch { url, source: Box::new(source) })?;
                Ok(Box::new(answer.into_body().into_reader().take(limit)))
            }
        }
    }

    /// A whole file of at most `limit` bytes.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let read = self.open(name, limit + 1)?.read_to_end(&mut bytes);
        read.map_err(|source| SourceError::Read { name, source })?;
        if bytes.len() as u64 > limit { Err(SourceError::TooLong { name, limit }) } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f"), [0; 11]).expect("written");
        let source = Source::Folder(folder.path().to_owned());
        assert!(source.read("f", 11).is_ok());
        assert!(matches!(source.read("f", 10), Err(SourceError::TooLong { .. })));
    }
}
