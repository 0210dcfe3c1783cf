//! What signing needs to know of an X.509 certificate. It proves nothing: no chain is followed and no signature checked.

use super::der::{BIT_STRING, CONTEXT_0, GENERALIZED_TIME, INTEGER, OBJECT, Reader, SEQUENCE, UTC_TIME};

/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// A certificate for an RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub(super) der: Vec<u8>,
    /// The issuer's name, as it stands there.
    pub(super) issuer: Vec<u8>,
    /// The serial number with its tag.
    pub(super) serial: Vec<u8>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// The key's length.
    pub key_bits: usize,
}

/// A certificate that nothing of ours can be signed with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not DER, or not of this form.
    #[error("this is no X.509 certificate: {what} is missing or malformed")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// Firmware checks RSA only.
    #[error("the certificate's key is no RSA key, and firmware checks no other kind everywhere")]
    KeyKind,
    /// Firmware everywhere checks 2048 bits; less is weak.
    #[error("the certificate's key has {bits} bits; firmware everywhere checks 2048, and 4096 only on some machines")]
    KeyBits {
        /// Its length.
        bits: usize,
    },
    /// Its time has not come.
    #[error("the certificate is valid only from {} on, and the clock of this machine says {}", day(*from), day(*now))]
    Early {
        /// When it begins, in seconds since 1970.
        from: i64,
        /// The clock.
        now: i64,
    },
    /// Its time is over.
    #[error("the certificate expired on {}, and the clock of this machine says {}", day(*until), day(*now))]
    Expired {
        /// When it ended, in seconds since 1970.
        until: i64,
        /// The clock.
        now: i64,
    },
}

impl Certificate {
    /// Reads one certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let part = |what| move || CertificateError::Malformed { what };
        let mut file = Reader::new(der);
        let whole = file.expect(SEQUENCE).filter(|_| file.is_at_end()).ok_or_else(part("the certificate itself"))?;
        let content = Reader::new(whole.content).expect(SEQUENCE).ok_or_else(part("its content"))?;
        let mut fields = Reader::new(content.content);
        let mut serial = fields.next().ok_or_else(part("its serial number"))?;
        if serial.tag == CONTEXT_0 {
            // The version, which only old certificates leave out.
            serial = fields.next().ok_or_else(part("its serial number"))?;
        }
        if serial.tag != INTEGER {
            return Err(part("its serial number")());
        }
        fields.expect(SEQUENCE).ok_or_else(part("its algorithm"))?;
        let issuer = fields.expect(SEQUENCE).ok_or_else(part("its issuer"))?;
        let validity = fields.expect(SEQUENCE).ok_or_else(part("its validity"))?;
        let mut times = Reader::new(validity.content);
        let not_before = time(&mut times).ok_or_else(part("the begin of its validity"))?;
        let not_after = time(&mut times).ok_or_else(part("the end of its validity"))?;
        fields.expect(SEQUENCE).ok_or_else(part("its subject"))?;
        let key = fields.expect(SEQUENCE).ok_or_else(part("its key"))?;
        Ok(Self {
            der: der.to_vec(),
            issuer: issuer.whole.to_vec(),
            serial: serial.whole.to_vec(),
            not_before,
            not_after,
            key_bits: rsa_bits(key.content)?,
        })
    }

    /// Whether firmware everywhere accepts what this key signs, at this time.
    pub fn check(&self, now: i64) -> Result<(), CertificateError> {
        if self.key_bits != 2048 {
            return Err(CertificateError::KeyBits { bits: self.key_bits });
        }
        if now < self.not_before {
            return Err(CertificateError::Early { from: self.not_before, now });
        }
        if now > self.not_after {
            return Err(CertificateError::Expired { until: self.not_after, now });
        }
        Ok(())
    }

    /// The last day of its validity, such as `2054-01-01`.
    #[must_use]
    pub fn last_day(&self) -> String {
        day(self.not_after)
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// The length of the modulus in a public key.
fn rsa_bits(key: &[u8]) -> Result<usize, CertificateError> {
    let malformed = || CertificateError::Malformed { what: "its key" };
    let mut parts = Reader::new(key);
    let algorithm = parts.expect(SEQUENCE).ok_or_else(malformed)?;
    let kind = Reader::new(algorithm.content).expect(OBJECT).ok_or_else(malformed)?;
    if kind.content != RSA {
        return Err(CertificateError::KeyKind);
    }
    let bits = parts.expect(BIT_STRING).ok_or_else(malformed)?;
    let numbers = bits.content.strip_prefix(&[0]).and_then(|inner| Reader::new(inner).expect(SEQUENCE));
    let modulus = numbers.and_then(|numbers| Reader::new(numbers.content).expect(INTEGER)).ok_or_else(malformed)?;
    let digits = modulus.content.iter().skip_while(|byte| **byte == 0).count();
    Ok(digits * 8)
}

fn time(times: &mut Reader<'_>) -> Option<i64> {
    let element = times.next()?;
    let text = std::str::from_utf8(element.content).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
    let (year, rest) = match element.tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = number(&text[..2])?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        GENERALIZED_TIME if text.len() == 14 => (number(&text[..4])?, &text[4..]),
        _ => return None,
    };
    let mut fields = [0; 5];
    for (field, at) in fields.iter_mut().zip([0, 2, 4, 6, 8]) {
        *field = number(&rest[at..at + 2])?;
    }
    let [month, day, hour, minute, second] = fields;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Years begin in March here, so that the day that some have more is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The day of a time in seconds since 1970.
fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era_year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + of_era_year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::super::der::{element, group};
    use super::*;
    use proptest::prelude::*;

    /// A certificate with this validity and key, signed by nobody.
    pub(crate) fn certificate(validity: &[(u8, &str)], key: &[u8]) -> Vec<u8> {
        let times: Vec<u8> = validity.iter().flat_map(|(tag, text)| element(*tag, text.as_bytes())).collect();
        let content = group(
            SEQUENCE,
            &[
                &element(CONTEXT_0, &element(INTEGER, &[2])),
                &element(INTEGER, &[7]),
                &element(SEQUENCE, &element(OBJECT, &[1])),
                &element(SEQUENCE, b""),
                &element(SEQUENCE, &times),
                &element(SEQUENCE, b""),
                key,
            ],
        );
        group(SEQUENCE, &[&content, &element(SEQUENCE, b""), &element(BIT_STRING, &[0])])
    }

    fn rsa(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0];
        modulus.resize(1 + bits / 8, 0xff);
        let numbers = group(SEQUENCE, &[&element(INTEGER, &modulus), &element(INTEGER, &[1, 0, 1])]);
        let algorithm = element(SEQUENCE, &element(OBJECT, &RSA));
        group(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[&[0], numbers.as_slice()].concat())])
    }

    const YEARS: [(u8, &str); 2] = [(UTC_TIME, "240101000000Z"), (GENERALIZED_TIME, "20540101000000Z")];

    #[test]
    fn kind_length_and_dates_are_read_and_checked() {
        let good = Certificate::parse(&certificate(&YEARS, &rsa(2048))).expect("a certificate");
        assert_eq!((good.not_before, good.not_after, good.key_bits), (1_704_067_200, 2_650_838_400, 2048));
        assert_eq!(good.check(1_800_000_000), Ok(()));
        assert!(matches!(good.check(1_704_067_199), Err(CertificateError::Early { .. })));
        assert!(matches!(good.check(2_650_838_401), Err(CertificateError::Expired { .. })));
        let weak = Certificate::parse(&certificate(&YEARS, &rsa(1024))).expect("a certificate");
        assert_eq!(weak.check(1_800_000_000), Err(CertificateError::KeyBits { bits: 1024 }));
        let other = group(SEQUENCE, &[&element(SEQUENCE, &element(OBJECT, &[0x2b, 0x65, 0x70])), b""]);
        assert_eq!(Certificate::parse(&certificate(&YEARS, &other)), Err(CertificateError::KeyKind));
    }

    #[test]
    fn a_time_that_does_not_exist_is_refused() {
        for wrong in ["241301000000Z", "240100000000Z", "240101240000Z", "240101000000", "2401010000Z", "24010100000xZ"]
        {
            let bytes = certificate(&[(UTC_TIME, wrong), YEARS[1]], &rsa(2048));
            assert!(Certificate::parse(&bytes).is_err(), "{wrong}");
        }
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
    }

    #[test]
    fn a_torn_certificate_is_an_error() {
        let whole = certificate(&YEARS, &rsa(2048));
        for length in 0..whole.len() {
            assert!(Certificate::parse(&whole[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_day_is_its_own_date(year in 1950..2100_i64, month in 1..=12_i64, of_month in 1..=28_i64) {
            let seconds = days_since_1970(year, month, of_month) * 86_400 + 86_399;
            prop_assert_eq!(day(seconds), format!("{year:04}-{month:02}-{of_month:02}"));
        }

        #[test]
        fn no_bytes_panic(flips in prop::collection::vec((0..300_usize, any::<u8>()), 0..12)) {
            let mut bytes = certificate(&YEARS, &rsa(2048));
            for (at, value) in flips {
                bytes[at] = value;
            }
            let _ = Certificate::parse(&bytes);
        }
    }
}
