//! Which system calls a program can make: read from its instructions, as none of ours loads code.
//!
//! A call is the instruction `syscall` with a number in `eax`. Where the number is a constant close before it, that is the
//! call. Where it comes from another register, every small constant that is put into any register before it counts. The C
//! library has one function that takes the number from its caller; there, the constants that its callers put into their
//! first argument count. So more may be found than is ever made, and what is not found cannot be made: no instruction of
//! the program has its number.

use std::collections::BTreeSet;

/// `syscall`.
const CALL: [u8; 2] = [0x0f, 0x05];
/// `syscall()` of the GNU C library: every argument moves by one register.
const BY_NUMBER: [u8; 25] = [
    0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4d, 0x89, 0xc8, 0x4c,
    0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05,
];
/// The instruction that a jump may land on stands before it in some builds.
const LANDING: u64 = 4;
/// No call has a greater number.
const NUMBERS: u32 = 512;
/// A constant that is a call's number stands so close before it …
const CLOSE: usize = 32;
/// … or, through another register, so close.
const FAR: usize = 512;
/// The first argument is set so close before a function is called.
const ARGUMENT: usize = 96;

/// The program is no ELF file of this processor with readable segments.
#[derive(Debug, PartialEq, Eq)]
pub struct NoProgram;

/// A part of the program's memory.
struct Segment<'a> {
    address: u64,
    bytes: &'a [u8],
    executable: bool,
}

/// The numbers of the calls that a static program can make.
pub fn made_by(program: &[u8]) -> Result<BTreeSet<u32>, NoProgram> {
    let segments = segments(program).ok_or(NoProgram)?;
    let mut made = BTreeSet::new();
    for segment in segments.iter().filter(|segment| segment.executable) {
        let code = segment.bytes;
        let by_number = find(code, &BY_NUMBER).next();
        for at in find(code, &CALL) {
            if by_number.is_some_and(|start| at == start + BY_NUMBER.len() - CALL.len()) {
                continue;
            }
            let close = before(code, at, CLOSE);
            let mut numbers: BTreeSet<u32> = constants(close, 0xb8..=0xb8).collect();
            // `xor %eax,%eax`, and a constant that is put into all of `rax`.
            numbers.extend(find(close, &[0x31, 0xc0]).map(|_| 0));
            numbers.extend(find(close, &[0x48, 0xc7, 0xc0]).filter_map(|place| number(close, place + 3)));
            if numbers.is_empty() {
                numbers.extend(constants(before(code, at, FAR), 0xb8..=0xbf));
            }
            made.extend(numbers);
        }
        let Some(start) = by_number else { continue };
        let function = segment.address + start as u64;
        let is_it = |target: u64| target == function || target + LANDING == function;
        for at in callers(code, segment.address, &segments, is_it) {
            let argument = before(code, at, ARGUMENT);
            made.extend(constants(argument, 0xbf..=0xbf));
            made.extend(find(argument, &[0x31, 0xff]).map(|_| 0));
        }
    }
    Ok(made)
}

/// Places that call or jump to a function, directly or by a word of the program's tables.
fn callers<'a>(
    code: &'a [u8],
    address: u64,
    segments: &'a [Segment<'_>],
    is_it: impl Fn(u64) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    (0..code.len()).filter(move |&at| {
        let (length, by_table) = match code.get(at..at + 2) {
            Some([0xe8 | 0xe9, _]) => (5, false),
            Some([0xff, 0x15 | 0x25]) => (6, true),
            _ => return false,
        };
        let Some(bytes) = code.get(at + length - 4..at + length) else { return false };
        let distance = i64::from(i32::from_le_bytes(bytes.try_into().expect("four bytes")));
        let target = (address + (at + length) as u64).wrapping_add_signed(distance);
        let target = if by_table { word_at(segments, target) } else { Some(target) };
        target.is_some_and(&is_it)
    })
}

fn word_at(segments: &[Segment<'_>], address: u64) -> Option<u64> {
    let segment = segments.iter().find(|segment| {
        (segment.address..segment.address.saturating_add(segment.bytes.len() as u64)).contains(&address)
    })?;
    let at = usize::try_from(address - segment.address).ok()?;
    Some(u64::from_le_bytes(segment.bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The parts that are loaded, with what the file has of them.
fn segments(program: &[u8]) -> Option<Vec<Segment<'_>>> {
    const LOADED: u32 = 1;
    const EXECUTABLE: u32 = 1;
    const X86_64: u16 = 62;
    let half = |at: usize| Some(u16::from_le_bytes(program.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(program.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_le_bytes(program.get(at..at.checked_add(8)?)?.try_into().ok()?));
    if !program.starts_with(b"\x7fELF\x02\x01") || half(18)? != X86_64 {
        return None;
    }
    let (table, size, count) = (usize::try_from(long(32)?).ok()?, usize::from(half(54)?), usize::from(half(56)?));
    let mut segments = Vec::new();
    for number in 0..count {
        let entry = table.checked_add(number.checked_mul(size)?)?;
        if word(entry)? != LOADED {
            continue;
        }
        let start = usize::try_from(long(entry.checked_add(8)?)?).ok()?;
        let length = usize::try_from(long(entry.checked_add(32)?)?).ok()?;
        segments.push(Segment {
            address: long(entry.checked_add(16)?)?,
            bytes: program.get(start..start.checked_add(length)?)?,
            executable: word(entry.checked_add(4)?)? & EXECUTABLE != 0,
        });
    }
    Some(segments)
}

fn find<'a>(code: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    code.windows(pattern.len()).enumerate().filter(move |(_, bytes)| *bytes == pattern).map(|(at, _)| at)
}

fn before(code: &[u8], at: usize, length: usize) -> &[u8] {
    &code[at.saturating_sub(length)..at]
}

/// Small constants that are put into one of these registers by `mov $number,%register`.
fn constants(code: &[u8], registers: std::ops::RangeInclusive<u8>) -> impl Iterator<Item = u32> + '_ {
    let moves = code.iter().enumerate().filter(move |(_, byte)| registers.contains(byte));
    moves.filter_map(|(at, _)| number(code, at + 1))
}

fn number(code: &[u8], at: usize) -> Option<u32> {
    let bytes = code.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?)).filter(|number| *number < NUMBERS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program of one segment at address 0x1000, without its other parts.
    fn program(code: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64 + 56, 0);
        file[18] = 62;
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        for (at, value) in [(64, 1_u64 | 5 << 32), (72, 120), (80, 0x1000), (96, code.len() as u64)] {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        file.extend_from_slice(code);
        file
    }

    fn made(code: &[u8]) -> Vec<u32> {
        made_by(&program(code)).expect("a program").into_iter().collect()
    }

    #[test]
    fn a_number_close_before_a_call_is_that_call() {
        assert_eq!(made(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]), [39]);
        assert_eq!(made(&[0x31, 0xc0, 0x0f, 0x05]), [0]);
        assert_eq!(made(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]), [15]);
        // Into r9 and from there into eax, with something between.
        assert_eq!(made(&[0x41, 0xb9, 202, 0, 0, 0, 0x90, 0x44, 0x89, 0xc8, 0x0f, 0x05]), [202]);
        assert_eq!(made(&[0xb8, 39, 0, 0, 0, 0xc3]), [0_u32; 0], "without the instruction there is no call");
    }

    #[test]
    fn who_calls_by_number_is_found_directly_and_by_a_table() {
        let mut code = vec![0xbf, 59, 1, 0, 0, 0xe8, 1, 0, 0, 0, 0xc3];
        code.extend(BY_NUMBER);
        assert_eq!(made(&code), [315]);
        // The table's word is behind the function; the caller reads it from there.
        let mut code = vec![0xbf, 186, 0, 0, 0, 0xff, 0x15, 26, 0, 0, 0, 0xc3];
        code.extend(BY_NUMBER);
        code.extend((0x1000_u64 + 12).to_le_bytes());
        assert_eq!(made(&code), [186]);
    }

    #[test]
    fn what_a_real_program_does_is_found() {
        let this = std::fs::read(std::env::current_exe().expect("this program")).expect("readable");
        let made = made_by(&this).expect("a program");
        // read, write, openat, exit_group and clone3, which every program with threads and files has.
        assert!([0, 1, 257, 231, 435].iter().all(|number| made.contains(number)), "{made:?}");
        assert!(made.len() < 250, "{} of about 380 are too many to say anything", made.len());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(head in proptest::collection::vec(any::<u8>(), 0..140), code: Vec<u8>) {
            let _ = made_by(&head);
            let mut file = program(&code);
            let length = file.len().min(head.len());
            file[6..length.max(6)].copy_from_slice(&head[6.min(length)..length]);
            let _ = made_by(&file);
        }
    }
}
