//! Whom TLS believes: the public certification authorities, and certificates that an operator named.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The word for the public authorities.
const PUBLIC: &str = "public";

/// A certificate is no longer than this.
const CERTIFICATE: usize = 4096;

/// One thing that TLS believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The certification authorities that come with the image.
    Public,
    /// A certificate in DER.
    Certificate(Vec<u8>),
}

/// The word is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a root is the word '{PUBLIC}' or a certificate: the base64 of its DER form, of at most {CERTIFICATE} bytes")]
pub struct RootError;

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str(PUBLIC),
            Self::Certificate(der) => f.write_str(&BASE64_STANDARD.encode(der)),
        }
    }
}

impl FromStr for Root {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        if text == PUBLIC {
            return Ok(Self::Public);
        }
        let der = BASE64_STANDARD.decode(text).map_err(|_| RootError)?;
        // Every certificate is a SEQUENCE with a length of two bytes; what is in it, TLS judges.
        let is_sequence = der.len() > 4 && der.starts_with(&[0x30, 0x82]);
        if is_sequence && der.len() <= CERTIFICATE { Ok(Self::Certificate(der)) } else { Err(RootError) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_or_a_certificate() {
        assert_eq!("public".parse(), Ok(Root::Public));
        assert_eq!("MIIBAAA=".parse(), Ok(Root::Certificate(vec![0x30, 0x82, 1, 0, 0])));
        for wrong in ["", "Public", "MIIB", "AAAA", "-----BEGIN"] {
            assert_eq!(wrong.parse::<Root>(), Err(RootError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_word_is_refused_or_comes_back_as_itself(text in "(MIIB)?[A-Za-z0-9+/]{0,20}=?") {
            if let Ok(root) = text.parse::<Root>() {
                prop_assert_eq!(root.to_string(), text);
            }
        }
    }
}
