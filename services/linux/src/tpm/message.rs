//! Commands and responses of TPM 2.0 as bytes ("TPM 2.0 Library", part 3): only those that seal and open something.
//!
//! Everything is big-endian, and what has a length begins with it. A response is outside input: whatever it holds, reading it
//! ends in a value or an error.

use aios_ids::Digest;

/// A number by which the TPM knows a loaded object or a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(pub(super) u32);

/// The owner's hierarchy: what was sealed under it opens until the TPM is cleared.
const OWNER: Handle = Handle(0x4000_0001);
const NULL: Handle = Handle(0x4000_0007);
/// The session that stands for an empty password.
const PASSWORD: Handle = Handle(0x4000_0009);

const SHA256: u16 = 0x000b;
const RSA: u16 = 0x0001;
const AES: u16 = 0x0006;
const KEYED_HASH: u16 = 0x0008;
const NOTHING: u16 = 0x0010;
const RSASSA: u16 = 0x0014;
const ECC: u16 = 0x0023;
const CFB: u16 = 0x0043;
const P256: u16 = 0x0003;

const POLICY_AUTHORIZE: u32 = 0x16a;

/// No response is longer.
const LIMIT: usize = 4096;

/// A response cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It ends too early, is too long, or its lengths do not fit.
    #[error("the TPM answered {0} with something that is no response")]
    Malformed(&'static str),
    /// The TPM's own word for why not.
    #[error("the TPM refused {command} with code {code:#x}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The code, as "TPM 2.0 Library", part 2, section 6.6 lists it.
        code: u32,
    },
}

/// A command, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Whether its response has an area of authorisation.
    authorised: Authorised,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authorised {
    No,
    Yes,
}

impl Command {
    /// The TPM's key under which others are kept: the same each time, made from the owner's seed.
    pub(super) fn create_primary() -> Self {
        let public = [
            &ECC.to_be_bytes()[..],
            &SHA256.to_be_bytes(),
            // Stays in this TPM, was made by it, needs its (empty) password, no lock-out, for keeping others.
            &0x0003_0472_u32.to_be_bytes(),
            &sized(&[]),
            &AES.to_be_bytes(),
            &128_u16.to_be_bytes(),
            &CFB.to_be_bytes(),
            &NOTHING.to_be_bytes(),
            &P256.to_be_bytes(),
            &NOTHING.to_be_bytes(),
            &sized(&[]),
            &sized(&[]),
        ]
        .concat();
        let parameters = [sized(&sensitive(&[])), sized(&public), creation()].concat();
        Self::with_session("CreatePrimary", 0x131, OWNER, PASSWORD, &parameters)
    }

    /// Keeps `secret` under `parent`, for whoever fulfils `policy`.
    pub(super) fn create(parent: Handle, secret: &[u8], policy: &Digest) -> Self {
        let public = [
            &KEYED_HASH.to_be_bytes()[..],
            &SHA256.to_be_bytes(),
            // Stays in this TPM, opens by its policy alone, no lock-out.
            &0x0000_0492_u32.to_be_bytes(),
            &sized(policy.as_bytes()),
            &NOTHING.to_be_bytes(),
            &sized(&[]),
        ]
        .concat();
        let parameters = [sized(&sensitive(secret)), sized(&public), creation()].concat();
        Self::with_session("Create", 0x153, parent, PASSWORD, &parameters)
    }

    pub(super) fn load(parent: Handle, private: &[u8], public: &[u8]) -> Self {
        Self::with_session("Load", 0x157, parent, PASSWORD, &[sized(private), sized(public)].concat())
    }

    pub(super) fn unseal(object: Handle, session: Handle) -> Self {
        Self::with_session("Unseal", 0x15e, object, session, &[])
    }

    /// A session whose policy has to be fulfilled step by step.
    pub(super) fn start_policy_session(nonce: &[u8; 16]) -> Self {
        const POLICY_SESSION: u8 = 1;
        let rest = [&sized(nonce)[..], &sized(&[]), &[POLICY_SESSION], &NOTHING.to_be_bytes(), &SHA256.to_be_bytes()];
        Self::plain("StartAuthSession", 0x176, &[NULL, NULL], &rest.concat())
    }

    /// Binds the session's policy to what a register of the bank of SHA-256 holds now.
    pub(super) fn policy_pcr(session: Handle, register: u8) -> Self {
        let mut registers = [0_u8; 3];
        registers[usize::from(register / 8)] = 1 << (register % 8);
        let rest = [&sized(&[])[..], &1_u32.to_be_bytes(), &SHA256.to_be_bytes(), &[3], &registers];
        Self::plain("PolicyPCR", 0x17f, &[session], &rest.concat())
    }

    pub(super) fn policy_get_digest(session: Handle) -> Self {
        Self::plain("PolicyGetDigest", 0x189, &[session], &[])
    }

    pub(super) fn load_external(key: &SigningKey) -> Self {
        let parameters = [&sized(&[])[..], &sized(&key.public()), &OWNER.0.to_be_bytes()].concat();
        Self::plain("LoadExternal", 0x167, &[], &parameters)
    }

    /// Has the TPM look whether `signature` of `key` is for `digest`.
    pub(super) fn verify_signature(key: Handle, digest: &Digest, signature: &[u8]) -> Self {
        let rest =
            [&sized(digest.as_bytes())[..], &RSASSA.to_be_bytes(), &SHA256.to_be_bytes(), &sized(signature)].concat();
        Self::plain("VerifySignature", 0x177, &[key], &rest)
    }

    /// Puts "whatever `key` signed" in place of the session's policy, if that is the one that was signed.
    pub(super) fn policy_authorize(session: Handle, policy: &Digest, key: &[u8], ticket: &[u8]) -> Self {
        let rest = [&sized(policy.as_bytes())[..], &sized(&[]), &sized(key), ticket].concat();
        Self::plain("PolicyAuthorize", POLICY_AUTHORIZE, &[session], &rest)
    }

    pub(super) fn flush(handle: Handle) -> Self {
        Self::plain("FlushContext", 0x165, &[], &handle.0.to_be_bytes())
    }

    fn plain(name: &'static str, code: u32, handles: &[Handle], rest: &[u8]) -> Self {
        let handles: Vec<u8> = handles.iter().flat_map(|handle| handle.0.to_be_bytes()).collect();
        Self { name, bytes: framed(0x8001, code, &[&handles, rest].concat()), authorised: Authorised::No }
    }

    fn with_session(name: &'static str, code: u32, handle: Handle, session: Handle, rest: &[u8]) -> Self {
        // The session, no nonce, ends with this command, no password.
        let area = [&session.0.to_be_bytes()[..], &sized(&[]), &[0], &sized(&[])].concat();
        let body = [&handle.0.to_be_bytes()[..], &(area.len() as u32).to_be_bytes(), &area, rest].concat();
        Self { name, bytes: framed(0x8002, code, &body), authorised: Authorised::Yes }
    }

    /// What follows the header of a response: after the handle, if `handle` says that there is one.
    pub(super) fn read<'a>(&self, response: &'a [u8]) -> Result<Reader<'a>, ResponseError> {
        let mut reader = Reader { rest: response, command: self.name };
        let (_tag, size, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
        if size as usize != response.len() || response.len() > LIMIT {
            return Err(reader.malformed());
        }
        if code != 0 {
            return Err(ResponseError::Refused { command: self.name, code });
        }
        Ok(reader)
    }

    /// Skips the length of the parameters, which only an authorised response has.
    pub(super) fn parameters(&self, reader: &mut Reader<'_>) -> Result<(), ResponseError> {
        if self.authorised == Authorised::Yes {
            reader.u32()?;
        }
        Ok(())
    }
}

/// The public half of the key that signs policies: RSA, of which only the signatures matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The number that both halves share, without zeroes in front.
    pub modulus: Vec<u8>,
    /// The other number of the public half.
    pub exponent: u32,
}

impl SigningKey {
    fn public(&self) -> Vec<u8> {
        // Zero stands for 65537.
        let exponent = if self.exponent == 65537 { 0 } else { self.exponent };
        [
            &RSA.to_be_bytes()[..],
            &SHA256.to_be_bytes(),
            // For signatures.
            &0x0004_0040_u32.to_be_bytes(),
            &sized(&[]),
            &NOTHING.to_be_bytes(),
            &NOTHING.to_be_bytes(),
            &((self.modulus.len() * 8) as u16).to_be_bytes(),
            &exponent.to_be_bytes(),
            &sized(&self.modulus),
        ]
        .concat()
    }

    /// By what every TPM calls it.
    pub(super) fn name(&self) -> Vec<u8> {
        [&SHA256.to_be_bytes()[..], Digest::of(&self.public()).as_bytes()].concat()
    }

    /// The policy "whatever this key signed", as a TPM computes it.
    #[must_use]
    pub fn policy(&self) -> Digest {
        let first = Digest::of(&[&[0; 32][..], &POLICY_AUTHORIZE.to_be_bytes(), &self.name()].concat());
        // A reference that is empty.
        Digest::of(first.as_bytes())
    }
}

/// The policy that the public area of something sealed names.
pub(super) fn policy_of(public: &[u8]) -> Option<Digest> {
    let mut reader = Reader { rest: public, command: "" };
    let (_kind, _hash, _attributes) = (reader.u16().ok()?, reader.u16().ok()?, reader.u32().ok()?);
    Some(Digest::from_bytes(reader.sized().ok()?.try_into().ok()?))
}

/// Reads a response from its front.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    command: &'static str,
}

impl<'a> Reader<'a> {
    fn malformed(&self) -> ResponseError {
        ResponseError::Malformed(self.command)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ResponseError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ResponseError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, ResponseError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn handle(&mut self) -> Result<Handle, ResponseError> {
        self.u32().map(Handle)
    }

    /// Bytes with their length in front.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], ResponseError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A digest with its length in front.
    pub(super) fn digest(&mut self) -> Result<Digest, ResponseError> {
        let bytes = self.sized()?.try_into().map_err(|_| self.malformed())?;
        Ok(Digest::from_bytes(bytes))
    }

    /// What the TPM verified, in its own words.
    pub(super) fn ticket(&mut self) -> Result<&'a [u8], ResponseError> {
        let all = self.rest;
        let (_tag, _hierarchy) = (self.u16()?, self.u32()?);
        let digest = self.sized()?;
        Ok(&all[..8 + digest.len()])
    }
}

fn framed(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = (10 + body.len()) as u32;
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

/// Everything here is far shorter than the 65535 bytes that a length can say.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// No password, and what is to be kept.
fn sensitive(data: &[u8]) -> Vec<u8> {
    [sized(&[]), sized(data)].concat()
}

/// Nothing from outside and no registers are noted with what is made.
fn creation() -> Vec<u8> {
    [&sized(&[])[..], &0_u32.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_as_the_specification_has_them() {
        let policy_pcr = Command::policy_pcr(Handle(0x0300_0000), 11);
        let expected = [0x80, 0x01, 0, 0, 0, 26, 0, 0, 0x01, 0x7f, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0];
        assert_eq!(policy_pcr.bytes, expected);
        let unseal = Command::unseal(Handle(0x8000_0001), Handle(0x0300_0000));
        let expected =
            [0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x5e, 0x80, 0, 0, 1, 0, 0, 0, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(unseal.bytes, expected);
    }

    #[test]
    fn a_response_is_what_it_says_or_an_error_with_its_code() {
        let command = Command::policy_get_digest(Handle(1));
        let digest = Digest::of(b"x");
        let good = framed(0x8001, 0, &sized(digest.as_bytes()));
        assert_eq!(command.read(&good).and_then(|mut reader| reader.digest()), Ok(digest));
        let refused = ResponseError::Refused { command: "PolicyGetDigest", code: 0x128 };
        assert_eq!(command.read(&framed(0x8001, 0x128, &[])).map(drop), Err(refused));
        let malformed = ResponseError::Malformed("PolicyGetDigest");
        assert_eq!(command.read(&good[..good.len() - 1]).map(drop), Err(malformed.clone()));
        let short = framed(0x8001, 0, &sized(&[1; 31]));
        assert_eq!(command.read(&short).and_then(|mut reader| reader.digest()), Err(malformed));
    }

    proptest! {
        #[test]
        fn no_response_panics(body in prop::collection::vec(any::<u8>(), 0..80), framing in any::<bool>()) {
            let command = Command::unseal(Handle(1), Handle(2));
            let bytes = if framing { framed(0x8002, 0, &body) } else { body };
            if let Ok(mut reader) = command.read(&bytes) {
                let _ = (reader.handle(), command.parameters(&mut reader), reader.ticket(), reader.sized(), reader.digest());
            }
            let _ = policy_of(&bytes);
        }

        #[test]
        fn what_is_sized_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..300), after in any::<u8>()) {
            let written = [sized(&bytes), vec![after]].concat();
            let mut reader = Reader { rest: &written, command: "" };
            prop_assert_eq!(reader.sized(), Ok(&bytes[..]));
            prop_assert_eq!(reader.rest, &[after]);
        }
    }
}
