//! A TPM 2.0: through `/dev/tpm0` one command, which measures a few bytes into a register; through `/dev/tpmrm0` what seals and
//! opens something ([`seal`], [`unseal`]).
//!
//! `TPM2_PCR_Event` has the TPM hash the bytes itself, once for each bank that it keeps, so no bank is left behind and
//! nothing is hashed here. Nothing in this file allocates: a thread that only measures never holds a lock that a process started
//! beside it would miss.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};

mod message;
mod seal;

pub use message::{ResponseError, SigningKey};
pub use seal::{Blob, Chip, Managed, SealError, Signed, seal, unseal};

const DEVICE: &str = "/dev/tpm0";

/// The longest measurement.
pub const WORD_LIMIT: usize = 64;

/// Header, register, the empty password that registers have, and the length of the measurement.
const COMMAND: usize = 10 + 4 + 13 + 2;

/// Tag, size, code.
const RESPONSE_HEADER: usize = 10;

/// The kernel hands out a whole response in one read, and none is longer.
const RESPONSE_LIMIT: usize = 4096;

/// An opened TPM.
#[derive(Debug)]
pub struct Tpm {
    device: File,
}

/// A measurement was not made.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// Longer than [`WORD_LIMIT`].
    #[error("a measurement of {0} bytes is longer than {WORD_LIMIT}")]
    Long(usize),
    /// The device.
    #[error("{DEVICE} cannot be used")]
    Device(#[from] io::Error),
    /// What came back is no response.
    #[error("{DEVICE} answered {0} bytes that are no response")]
    Malformed(usize),
    /// The TPM's own word for why not.
    #[error("the TPM refused with code {0:#x}")]
    Refused(u32),
}

impl Tpm {
    /// The machine's TPM; none when it has none.
    pub fn open() -> io::Result<Option<Self>> {
        match File::options().read(true).write(true).open(DEVICE) {
            Ok(device) => Ok(Some(Self { device })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Measures `word` into a register of every bank. Takes as long as the TPM does: some milliseconds.
    pub fn measure(&mut self, register: u32, word: &[u8]) -> Result<(), TpmError> {
        let mut command = [0; COMMAND + WORD_LIMIT];
        let length = write_command(&mut command, register, word)?;
        // One write is one command.
        if self.device.write(&command[..length])? != length {
            return Err(io::Error::from(ErrorKind::WriteZero).into());
        }
        let mut response = [0; RESPONSE_LIMIT];
        let length = self.device.read(&mut response)?;
        read_response(&response[..length])
    }
}

fn write_command(command: &mut [u8; COMMAND + WORD_LIMIT], register: u32, word: &[u8]) -> Result<usize, TpmError> {
    if word.len() > WORD_LIMIT {
        return Err(TpmError::Long(word.len()));
    }
    let length = COMMAND + word.len();
    // With a session, of this length, TPM2_PCR_Event.
    command[..2].copy_from_slice(&[0x80, 0x02]);
    command[2..6].copy_from_slice(&(length as u32).to_be_bytes());
    command[6..10].copy_from_slice(&[0x00, 0x00, 0x01, 0x3c]);
    command[10..14].copy_from_slice(&register.to_be_bytes());
    // Nine bytes of authorisation: the password session, no nonce, no attributes, no password.
    command[14..27].copy_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
    command[27..29].copy_from_slice(&(word.len() as u16).to_be_bytes());
    command[29..length].copy_from_slice(word);
    Ok(length)
}

fn read_response(response: &[u8]) -> Result<(), TpmError> {
    let malformed = || TpmError::Malformed(response.len());
    let number = |at: usize| {
        let bytes = response.get(at..at + 4).ok_or_else(malformed)?;
        Ok::<_, TpmError>(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let (size, code) = (number(2)?, number(6)?);
    if size as usize != response.len() || response.len() < RESPONSE_HEADER {
        return Err(malformed());
    }
    if code == 0 { Ok(()) } else { Err(TpmError::Refused(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_command_is_as_the_specification_has_it() {
        let mut command = [0; COMMAND + WORD_LIMIT];
        let length = write_command(&mut command, 11, b"live").expect("short enough");
        let expected = [
            0x80, 0x02, 0, 0, 0, 33, 0, 0, 0x01, 0x3c, 0, 0, 0, 11, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 4,
            b'l', b'i', b'v', b'e',
        ];
        assert_eq!(command[..length], expected);
        assert!(matches!(write_command(&mut command, 11, &[0; 65]), Err(TpmError::Long(65))));
    }

    #[test]
    fn a_refusal_names_its_code_and_anything_else_is_no_response() {
        let response = |size: u8, code: u8| [0x80, 0x01, 0, 0, 0, size, 0, 0, 0x09, code];
        assert!(matches!(read_response(&response(10, 0x22)), Err(TpmError::Refused(0x922))));
        assert!(matches!(read_response(&[0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0]), Ok(())));
        assert!(matches!(read_response(&response(11, 0)), Err(TpmError::Malformed(10))));
    }

    proptest! {
        #[test]
        fn no_response_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read_response(&bytes);
        }
    }
}
