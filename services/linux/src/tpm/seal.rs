//! Something small, kept by a TPM for the systems that a key vouches for.
//!
//! What is sealed opens in the TPM that sealed it, while register 11 holds a state for which the key has signed a policy. The
//! signatures come with each kernel image, so an update opens what an older release sealed, and an image that somebody else
//! made does not. The commands go in clear: whoever taps the wires of a TPM that is a chip of its own reads what is unsealed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use aios_ids::Digest;
use zeroize::Zeroizing;

use super::message::{Command, Handle, Reader, ResponseError, SigningKey, policy_of};

/// The register that holds the kernel image and the words of the start.
const REGISTER: u8 = 11;

/// The kernel hands out a whole response in one read, and none is longer.
const RESPONSE_LIMIT: usize = 4096;

/// A TPM that answers one command at a time.
pub trait Chip {
    /// Sends a command and returns the response.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// `/dev/tpmrm0`, on which nobody else's objects and sessions are seen. What is left of ours goes when it is closed.
#[derive(Debug)]
pub struct Managed(pub File);

impl Chip for Managed {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        // One write is one command.
        if self.0.write(command)? != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut response = Zeroizing::new(vec![0; RESPONSE_LIMIT]);
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

/// A policy for the register, and the key's signature on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The policy's digest.
    pub policy: Digest,
    /// RSA PKCS #1 1.5 over SHA-256 of it.
    pub signature: Vec<u8>,
}

/// What is sealed, as the TPM gave it out; only that TPM reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The part that is encrypted.
    pub private: Vec<u8>,
    /// The part that says what has to be fulfilled.
    pub public: Vec<u8>,
}

/// Nothing was sealed or unsealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The way to the TPM.
    #[error("the TPM cannot be used")]
    Device(#[from] io::Error),
    /// What the TPM said.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// It was sealed by another one.
    #[error("another TPM sealed it, or this one was cleared since")]
    AnotherTpm,
    /// It was sealed for another key.
    #[error("it was sealed for images of another key than the one that signs this image")]
    AnotherKey,
    /// The register holds what nobody signed.
    #[error(
        "register 11 holds a state for which this image has no signed policy: the start was altered, or not measured"
    )]
    State,
    /// A signature is none of the key's.
    #[error("the policy for this state of register 11 is not signed by the key of this image")]
    Signature,
}

type Result<T> = std::result::Result<T, SealError>;

/// Seals `secret`, for every state that `key` signs.
pub fn seal(chip: &mut impl Chip, key: &SigningKey, secret: &[u8]) -> Result<Blob> {
    let mut talk = Talk::new(chip);
    let blob = talk.seal(key, secret);
    talk.end();
    blob
}

/// Opens what was sealed, if the register's state is among those that are `signed`.
pub fn unseal(
    chip: &mut impl Chip,
    key: &SigningKey,
    signed: &[Signed],
    nonce: &[u8; 16],
    blob: &Blob,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut talk = Talk::new(chip);
    let secret = talk.unseal(key, signed, nonce, blob);
    talk.end();
    secret
}

/// Some commands, and what they left loaded in the TPM.
struct Talk<'a, C> {
    chip: &'a mut C,
    loaded: Vec<Handle>,
}

/// How often a command is sent again that the TPM was too busy for.
const PATIENCE: u32 = 5;

/// The codes by which it says so.
const BUSY: [u32; 3] = [0x908, 0x90a, 0x922];

/// The register changed while the policy was looked at; whoever asks again has the new one.
const CHANGED: u32 = 0x128;

impl<'a, C: Chip> Talk<'a, C> {
    fn new(chip: &'a mut C) -> Self {
        Self { chip, loaded: Vec::new() }
    }

    /// Sends a command and has its response read.
    fn ask<T>(
        &mut self,
        command: &Command,
        read: impl Fn(&mut Reader<'_>) -> std::result::Result<T, ResponseError>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let response = self.chip.exchange(&command.bytes)?;
            match command.read(&response) {
                Ok(mut reader) => return Ok(read(&mut reader)?),
                Err(ResponseError::Refused { code, .. }) if BUSY.contains(&code) && tries < PATIENCE => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a command whose response begins with the handle of something that is now loaded.
    fn load(&mut self, command: &Command) -> Result<Handle> {
        let handle = self.ask(command, |reader| reader.handle())?;
        self.loaded.push(handle);
        Ok(handle)
    }

    fn done(&mut self, command: &Command) -> Result<()> {
        self.ask(command, |_| Ok(()))
    }

    /// Takes out of the TPM what was loaded.
    fn end(mut self) {
        for handle in std::mem::take(&mut self.loaded) {
            // A session that was used is gone already, and closing the device takes the rest.
            let _ = self.done(&Command::flush(handle));
        }
    }

    fn seal(&mut self, key: &SigningKey, secret: &[u8]) -> Result<Blob> {
        let parent = self.load(&Command::create_primary())?;
        let create = Command::create(parent, secret, &key.policy());
        self.ask(&create, |reader| {
            create.parameters(reader)?;
            Ok(Blob { private: reader.sized()?.to_vec(), public: reader.sized()?.to_vec() })
        })
    }

    fn unseal(
        &mut self,
        key: &SigningKey,
        signed: &[Signed],
        nonce: &[u8; 16],
        blob: &Blob,
    ) -> Result<Zeroizing<Vec<u8>>> {
        if policy_of(&blob.public) != Some(key.policy()) {
            return Err(SealError::AnotherKey);
        }
        let parent = self.load(&Command::create_primary())?;
        let object = self.load(&Command::load(parent, &blob.private, &blob.public)).map_err(foreign)?;
        self.flush_first(parent);
        let session = self.fulfil(key, signed, nonce)?;
        let unseal = Command::unseal(object, session);
        let unsealed = self.ask(&unseal, |reader| {
            unseal.parameters(reader)?;
            Ok(Zeroizing::new(reader.sized()?.to_vec()))
        });
        match unsealed {
            Err(SealError::Response(ResponseError::Refused { code: CHANGED, .. })) => Err(SealError::State),
            unsealed => unsealed,
        }
    }

    /// A session in which the key's policy is fulfilled by the register as it is now.
    fn fulfil(&mut self, key: &SigningKey, signed: &[Signed], nonce: &[u8; 16]) -> Result<Handle> {
        let session = self.load(&Command::start_policy_session(nonce))?;
        self.done(&Command::policy_pcr(session, REGISTER))?;
        let policy = self.ask(&Command::policy_get_digest(session), |reader| reader.digest())?;
        let signed = signed.iter().find(|one| one.policy == policy).ok_or(SealError::State)?;
        let signer = self.load(&Command::load_external(key))?;
        // What is signed is the policy and a reference, which is empty.
        let digest = Digest::of(policy.as_bytes());
        let verify = Command::verify_signature(signer, &digest, &signed.signature);
        let ticket = self.ask(&verify, |reader| reader.ticket().map(<[u8]>::to_vec)).map_err(unsigned)?;
        self.flush_first(signer);
        self.done(&Command::policy_authorize(session, &policy, &key.name(), &ticket))?;
        Ok(session)
    }

    /// Takes something out before the end: a TPM has room for three objects.
    fn flush_first(&mut self, handle: Handle) {
        self.loaded.retain(|loaded| *loaded != handle);
        let _ = self.done(&Command::flush(handle));
    }
}

/// The number of an error that is about a parameter, without which one.
fn about_a_parameter(error: &SealError) -> Option<u32> {
    match error {
        SealError::Response(ResponseError::Refused { code, .. }) if code & 0x80 != 0 => Some(code & 0xbf),
        _ => None,
    }
}

/// `TPM_RC_INTEGRITY`: the private part is not this TPM's.
fn foreign(error: SealError) -> SealError {
    if about_a_parameter(&error) == Some(0x9f) { SealError::AnotherTpm } else { error }
}

/// `TPM_RC_SIGNATURE`.
fn unsigned(error: SealError) -> SealError {
    if about_a_parameter(&error) == Some(0x9b) { SealError::Signature } else { error }
}
