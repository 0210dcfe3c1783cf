//! Authenticode: the signature that UEFI firmware checks before it starts a program.
//!
//! [`digest`] is what is signed of a PE file: all of it except the places where a signature stands. [`message`] is what
//! the key signs, [`attach`] puts the answer into the file. No time is stamped, so the same file and key give the same
//! bytes. A program that is signed already gets one more signature; firmware accepts it when it knows any of the signers.
//! What signs is the caller's affair: a key need not be a file here.

mod certificate;
mod der;

pub use certificate::{Certificate, CertificateError};

use sha2::{Digest as _, Sha256};

use crate::uki::{Header, PeError, get, put};
use der::{BIT_STRING, CONTEXT_0, INTEGER, NULL, OBJECT, OCTET_STRING, Reader, SEQUENCE, SET, element, group};

/// 1.2.840.113549.1.7.2, signed data.
const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.3.6.1.4.1.311.2.1.4, the digest of something outside.
const INDIRECT_DATA: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// 1.3.6.1.4.1.311.2.1.15, which is a PE file.
const PE_IMAGE: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];
/// 2.16.840.1.101.3.4.2.1.
const SHA_256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// 1.2.840.113549.1.1.1.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.9.3.
const CONTENT_TYPE: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 1.2.840.113549.1.9.4.
const MESSAGE_DIGEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];

/// The table of signatures and each one in it begin on such a boundary.
const ALIGNMENT: usize = 8;

/// Length, revision 2.0, PKCS #7.
const ENTRY_HEADER: usize = 8;

/// Where the header says where the signatures are, from the begin of the optional header.
const TABLE_FIELD: usize = 112 + 4 * 8;
const CHECKSUM_FIELD: usize = 64;

/// The digest that a signature of `program` covers. The file counts as if it were filled up to a multiple of 8 bytes,
/// because that is what signing does to it.
pub fn digest(program: &[u8]) -> Result<[u8; 32], PeError> {
    let header = Header::read(program)?;
    let end = table(&header, program)?.0;
    let mut hash = Sha256::new();
    let (checksum, field) = (header.optional + CHECKSUM_FIELD, header.optional + TABLE_FIELD);
    let headers_end = get(program, header.optional + 60).unwrap_or(0) as usize;
    if headers_end < field + 8 || headers_end > end {
        return Err(PeError::Malformed { why: "its header ends outside the file" });
    }
    for range in [0..checksum, checksum + 4..field, field + 8..headers_end] {
        hash.update(&program[range]);
    }
    let mut raw = header.raw.clone();
    raw.sort_by_key(|range| range.start);
    let mut done = headers_end;
    for range in raw.into_iter().filter(|range| !range.is_empty()) {
        if range.start != done {
            // Firmware and signers disagree about what lies between sections; we neither make nor sign such files.
            return Err(PeError::Malformed { why: "there is something between its sections" });
        }
        let content = program.get(range.clone()).filter(|_| range.end <= end);
        hash.update(content.ok_or(PeError::Malformed { why: "a section passes the end of the file" })?);
        done = range.end;
    }
    hash.update(&program[done..end]);
    hash.update(vec![0; end.next_multiple_of(ALIGNMENT) - end]);
    Ok(hash.finalize().into())
}

/// The bytes that the key of a certificate signs, with RSA and SHA-256 as in PKCS #1 1.5.
#[must_use]
pub fn message(digest: &[u8; 32]) -> Vec<u8> {
    element(SET, &attributes(digest))
}

/// The program with one more signature: `signature` is the key's over [`message`].
pub fn attach(program: &[u8], certificate: &Certificate, signature: &[u8]) -> Result<Vec<u8>, PeError> {
    let header = Header::read(program)?;
    let digest = digest(program)?;
    let (begin, end) = table(&header, program)?;
    let mut image = program[..end].to_vec();
    image.resize(image.len().next_multiple_of(ALIGNMENT), 0);
    // A new table begins at the end, an old one grows.
    let begin = if begin == end { image.len() } else { begin };
    let content = signed_data(&digest, certificate, signature);
    let length = ENTRY_HEADER + content.len();
    image.extend_from_slice(&(length as u32).to_le_bytes());
    image.extend_from_slice(&[0x00, 0x02, 0x02, 0x00]);
    image.extend_from_slice(&content);
    image.resize(image.len().next_multiple_of(ALIGNMENT), 0);
    let size = image.len() - begin;
    put(&mut image, header.optional + TABLE_FIELD, begin as u32);
    put(&mut image, header.optional + TABLE_FIELD + 4, size as u32);
    Ok(image)
}

/// The program without any signature, and without what filled it up for one.
pub fn strip(program: &[u8]) -> Result<Vec<u8>, PeError> {
    let header = Header::read(program)?;
    let mut image = program[..table(&header, program)?.0].to_vec();
    put(&mut image, header.optional + TABLE_FIELD, 0);
    put(&mut image, header.optional + TABLE_FIELD + 4, 0);
    Ok(image)
}

/// The digests that a program's signatures name, in their order. It checks no signature.
pub fn signed_digests(program: &[u8]) -> Result<Vec<[u8; 32]>, PeError> {
    let header = Header::read(program)?;
    let (mut at, end) = table(&header, program)?;
    let broken = || PeError::Malformed { why: "its table of signatures is damaged" };
    let mut digests = Vec::new();
    while at < end {
        let length = get(program, at).ok_or_else(broken)? as usize;
        let content =
            at.checked_add(length).and_then(|last| program.get(at + ENTRY_HEADER..last)).ok_or_else(broken)?;
        digests.push(named_digest(content).ok_or_else(broken)?);
        at = (at + length).next_multiple_of(ALIGNMENT);
    }
    Ok(digests)
}

/// The digest inside signed data of ours or anybody's.
fn named_digest(signed: &[u8]) -> Option<[u8; 32]> {
    let outer = Reader::new(signed).expect(SEQUENCE)?;
    let mut outer = Reader::new(outer.content);
    outer.expect(OBJECT).filter(|kind| kind.content == SIGNED_DATA)?;
    let data = Reader::new(outer.expect(CONTEXT_0)?.content).expect(SEQUENCE)?;
    let mut data = Reader::new(data.content);
    data.expect(INTEGER)?;
    data.expect(SET)?;
    let content = data.expect(SEQUENCE)?;
    let mut content = Reader::new(content.content);
    content.expect(OBJECT).filter(|kind| kind.content == INDIRECT_DATA)?;
    let indirect = Reader::new(content.expect(CONTEXT_0)?.content).expect(SEQUENCE)?;
    let mut indirect = Reader::new(indirect.content);
    indirect.expect(SEQUENCE)?;
    let mut digest = Reader::new(indirect.expect(SEQUENCE)?.content);
    digest.expect(SEQUENCE)?;
    digest.expect(OCTET_STRING)?.content.try_into().ok()
}

/// Where the table of signatures begins and ends; both are the end of the file when there is none.
fn table(header: &Header, program: &[u8]) -> Result<(usize, usize), PeError> {
    let field = |offset| get(program, header.optional + TABLE_FIELD + offset).map(|value| value as usize);
    match (field(0), field(4)) {
        (Some(0), Some(0)) => Ok((program.len(), program.len())),
        (Some(begin), Some(size)) if begin % ALIGNMENT == 0 && begin.checked_add(size) == Some(program.len()) => {
            Ok((begin, program.len()))
        }
        _ => Err(PeError::Malformed { why: "its signatures are not at its end" }),
    }
}

fn algorithm(id: &[u8]) -> Vec<u8> {
    group(SEQUENCE, &[&element(OBJECT, id), &element(NULL, b"")])
}

/// What the signature is about, without the tag around it.
fn indirect(digest: &[u8; 32]) -> Vec<u8> {
    // No flags, and a link to a file without a name.
    let image = group(SEQUENCE, &[&element(BIT_STRING, &[0]), &[0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00]]);
    [
        group(SEQUENCE, &[&element(OBJECT, &PE_IMAGE), &image]),
        group(SEQUENCE, &[&algorithm(&SHA_256), &element(OCTET_STRING, digest)]),
    ]
    .concat()
}

/// The attributes that are signed, in the order that DER wants of a set.
fn attributes(digest: &[u8; 32]) -> Vec<u8> {
    let attribute = |id: &[u8], value: &[u8]| group(SEQUENCE, &[&element(OBJECT, id), &element(SET, value)]);
    let content: [u8; 32] = Sha256::digest(indirect(digest)).into();
    [
        attribute(&CONTENT_TYPE, &element(OBJECT, &INDIRECT_DATA)),
        attribute(&MESSAGE_DIGEST, &element(OCTET_STRING, &content)),
    ]
    .concat()
}

fn signed_data(digest: &[u8; 32], certificate: &Certificate, signature: &[u8]) -> Vec<u8> {
    let version = element(INTEGER, &[1]);
    let content = group(
        SEQUENCE,
        &[&element(OBJECT, &INDIRECT_DATA), &element(CONTEXT_0, &element(SEQUENCE, &indirect(digest)))],
    );
    let signer = group(
        SEQUENCE,
        &[
            &version,
            &group(SEQUENCE, &[&certificate.issuer, &certificate.serial]),
            &algorithm(&SHA_256),
            &element(CONTEXT_0, &attributes(digest)),
            &algorithm(&RSA),
            &element(OCTET_STRING, signature),
        ],
    );
    let data = group(
        SEQUENCE,
        &[
            &version,
            &element(SET, &algorithm(&SHA_256)),
            &content,
            &element(CONTEXT_0, &certificate.der),
            &element(SET, &signer),
        ],
    );
    group(SEQUENCE, &[&element(OBJECT, &SIGNED_DATA), &element(CONTEXT_0, &data)])
}
