//! Whether bytes are a static program for this machine. It is no judgement of what the program does: the sandbox holds
//! whatever it is. It refuses early, and with words, what could not run in one.

use aios_ids::Digest;

use super::PROGRAM_LIMIT;

/// The bytes are no program that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not ELF, or cut off.
    #[error("it is not an ELF program, or its headers lie outside of it")]
    Form,
    /// For another machine.
    #[error("it is not a 64-bit x86-64 program")]
    Machine,
    /// It wants a loader.
    #[error("it is not static: it wants the loader of a C library; link it statically")]
    Dynamic,
    /// Nothing of it would be executed.
    #[error("its entry lies in no part of it that is executed")]
    Entry,
    /// It could change its own code.
    #[error("a part of it, or its stack, can be both written and executed")]
    WriteAndExecute,
}

/// The bytes are not the program of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Too many.
    #[error("the program's parts have more than {PROGRAM_LIMIT} bytes together")]
    Large,
    /// Those of another one.
    #[error("the program's parts have the digest {found}, and the manifest names {wanted}: hand in what it names")]
    Other {
        /// The manifest's.
        wanted: Digest,
        /// Theirs.
        found: Digest,
    },
    /// Of none that can run.
    #[error("the program cannot be taken")]
    Elf(#[from] ElfError),
}

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// A linker makes about ten.
const PROGRAM_HEADERS: usize = 64;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const STACK: u32 = 0x6474_e551;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// Checks a program before it is kept or run.
pub fn check_program(bytes: &[u8]) -> Result<(), ElfError> {
    let header = bytes.get(..HEADER).filter(|header| header.starts_with(b"\x7fELF")).ok_or(ElfError::Form)?;
    // 64 bits, little-endian, x86-64.
    if header[4..6] != [2, 1] || u16_at(header, 18) != 62 {
        return Err(ElfError::Machine);
    }
    // ET_EXEC, or ET_DYN for a static program that runs wherever it is put.
    if ![2, 3].contains(&u16_at(header, 16)) {
        return Err(ElfError::Form);
    }
    let entry = u64_at(header, 24);
    let (size, count) = (usize::from(u16_at(header, 54)), usize::from(u16_at(header, 56)));
    if size != PROGRAM_HEADER || !(1..=PROGRAM_HEADERS).contains(&count) {
        return Err(ElfError::Form);
    }
    let table = usize::try_from(u64_at(header, 32)).map_err(|_| ElfError::Form)?;
    let table = table.checked_add(size * count).and_then(|end| bytes.get(table..end)).ok_or(ElfError::Form)?;
    let mut entered = false;
    for part in table.chunks_exact(PROGRAM_HEADER) {
        let (kind, flags) = (u32_at(part, 0), u32_at(part, 4));
        let (offset, address, in_file, in_memory) =
            (u64_at(part, 8), u64_at(part, 16), u64_at(part, 32), u64_at(part, 40));
        match kind {
            INTERPRETER => return Err(ElfError::Dynamic),
            LOAD | STACK if flags & (WRITE | EXECUTE) == WRITE | EXECUTE => return Err(ElfError::WriteAndExecute),
            LOAD => {
                let ends = offset.checked_add(in_file).filter(|end| *end <= bytes.len() as u64);
                if ends.is_none() || in_memory < in_file || address.checked_add(in_memory).is_none() {
                    return Err(ElfError::Form);
                }
                entered |= flags & EXECUTE != 0 && (address..address + in_file).contains(&entry);
            }
            _ => {}
        }
    }
    if entered { Ok(()) } else { Err(ElfError::Entry) }
}

/// The smallest program around these instructions: one part that holds the headers and them.
pub fn program_around(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let start = HEADER + PROGRAM_HEADER;
    let size = (start + code.len()) as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for half in [2u16, 62] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1u32.to_le_bytes());
    for whole in [BASE + start as u64, HEADER as u64, 0] {
        bytes.extend(whole.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM_HEADER as u16, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [LOAD, 4 | EXECUTE] {
        bytes.extend(word.to_le_bytes());
    }
    for whole in [0, BASE, BASE, size, size, 0x1000] {
        bytes.extend(whole.to_le_bytes());
    }
    bytes.extend(code);
    bytes
}

/// The callers' slices are long enough: each is a whole header.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program() -> Vec<u8> {
        program_around(&[0x0f, 0x05])
    }

    fn changed(at: usize, value: &[u8]) -> Result<(), ElfError> {
        let mut bytes = program();
        bytes[at..at + value.len()].copy_from_slice(value);
        check_program(&bytes)
    }

    #[test]
    fn a_static_program_is_taken_and_everything_else_named() {
        assert_eq!(check_program(&program()), Ok(()));
        assert_eq!(check_program(b"#!/bin/sh\n"), Err(ElfError::Form));
        assert_eq!(changed(4, &[1]), Err(ElfError::Machine));
        assert_eq!(changed(18, &183u16.to_le_bytes()), Err(ElfError::Machine));
        assert_eq!(changed(16, &[1]), Err(ElfError::Form));
        assert_eq!(changed(64, &INTERPRETER.to_le_bytes()), Err(ElfError::Dynamic));
        assert_eq!(changed(68, &7u32.to_le_bytes()), Err(ElfError::WriteAndExecute));
        assert_eq!(changed(24, &0u64.to_le_bytes()), Err(ElfError::Entry));
        assert_eq!(changed(68, &4u32.to_le_bytes()), Err(ElfError::Entry));
        assert_eq!(changed(96, &u64::MAX.to_le_bytes()), Err(ElfError::Form));
        assert_eq!(changed(32, &u64::MAX.to_le_bytes()), Err(ElfError::Form));
        assert_eq!(changed(56, &0u16.to_le_bytes()), Err(ElfError::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0usize..130) {
            let good = program();
            let start = start.min(bytes.len()).min(good.len());
            bytes[..start].copy_from_slice(&good[..start]);
            let _ = check_program(&bytes);
        }
    }
}
