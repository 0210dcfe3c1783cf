//! Unified kernel images: sections appended to a PE file, the systemd stub, and read back from one.
//!
//! The stub starts what it finds in sections `.linux`, `.initrd` and `.cmdline` of its own file, so one signature covers
//! all of them. [`append`] keeps the stub's sections as they are, gives each new section its own pages of the address space
//! and its own blocks of the file, and is deterministic. It does not sign, and it knows nothing of what the sections mean.
//!
//! Rule to remember: firmware trusts the header. Sections that overlap or pass `SizeOfImage` are loaded over each other.

use std::ops::Range;

/// Larger than any kernel image with its initial RAM file system; more would not fit below 4 GiB on some firmware.
const SIZE_LIMIT: usize = 256 << 20;

/// New sections start on pages whatever the stub's own alignment is: the kernel is entered in place.
const PAGE: u32 = 4096;

const SECTION_HEADER: usize = 40;
const SYMBOL: usize = 18;

/// No section has a longer name.
const NAME_LIMIT: usize = 64;

/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// Why bytes are not a PE file that can be read or extended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Not a PE32+ file, or one whose header lies about itself.
    #[error("not an EFI program: {why}")]
    Malformed {
        /// Which part is wrong.
        why: &'static str,
    },
    /// A signature covers the whole file, so nothing can be appended after it.
    #[error("the program is signed already; sections are appended before signing")]
    Signed,
    /// The header has no room for another section.
    #[error("no room for section {name}: the header ends after {sections} sections")]
    Full {
        /// The one that did not fit.
        name: String,
        /// How many are there.
        sections: usize,
    },
    /// Empty, longer than 8 bytes, or there already.
    #[error("section {name:?} cannot be added: its name must have 1 to 8 bytes and be new")]
    Name {
        /// As given.
        name: String,
    },
    /// Beyond what firmware loads.
    #[error("the image would have {size} bytes; {SIZE_LIMIT} is the most that firmware loads everywhere")]
    Size {
        /// Of the whole.
        size: usize,
    },
}

/// One section of a PE file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Such as `.cmdline`.
    pub name: String,
    /// Where it is loaded.
    pub addresses: Range<u32>,
    /// Where its content is in the file, without padding.
    pub content: Range<usize>,
}

/// The sections of a PE file, in the order of its header.
pub fn sections(image: &[u8]) -> Result<Vec<Section>, PeError> {
    Ok(Header::read(image)?.sections)
}

/// The content of one section.
pub fn section<'a>(image: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, PeError> {
    let found = sections(image)?.into_iter().find(|section| section.name == name);
    Ok(found.map(|section| &image[section.content]))
}

/// The program `stub` with `added` behind its own sections.
pub fn append(stub: &[u8], added: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
    let header = Header::read(stub)?;
    if header.signed {
        return Err(PeError::Signed);
    }
    let mut names: Vec<&str> = header.sections.iter().map(|section| section.name.as_str()).collect();
    let mut image = stub.to_vec();
    // Symbols are for debuggers. Left where they are they would lie between sections, and what a signature covers there
    // is read differently by different firmware.
    let headers_end = header.table + header.sections.len() * SECTION_HEADER;
    let content_end = header.raw.iter().filter(|raw| !raw.is_empty()).map(|raw| raw.end).max();
    image.truncate(content_end.map_or(image.len(), |end| end.max(headers_end)));
    put(&mut image, header.coff + 8, 0);
    put(&mut image, header.coff + 12, 0);
    let mut address_end = header.sections.iter().map(|section| section.addresses.end).max().unwrap_or(0);
    let mut data_size = header.data_size;
    for (name, content) in added {
        if name.is_empty() || name.len() > 8 || names.contains(name) {
            return Err(PeError::Name { name: (*name).to_owned() });
        }
        let entry = header.table + names.len() * SECTION_HEADER;
        if entry + SECTION_HEADER > header.first_content {
            return Err(PeError::Full { name: (*name).to_owned(), sections: names.len() });
        }
        image.resize(image.len().next_multiple_of(header.file_alignment), 0);
        let offset = image.len();
        let raw_size = content.len().next_multiple_of(header.file_alignment);
        let address = address_end.next_multiple_of(PAGE.max(header.section_alignment));
        if offset + raw_size > SIZE_LIMIT || address as usize + content.len() > SIZE_LIMIT {
            return Err(PeError::Size { size: offset + raw_size });
        }
        image.extend_from_slice(content);
        image.resize(offset + raw_size, 0);
        address_end = address + content.len() as u32;
        data_size = data_size.saturating_add(raw_size as u32);
        let mut padded_name = [0; 8];
        padded_name[..name.len()].copy_from_slice(name.as_bytes());
        image[entry..entry + 8].copy_from_slice(&padded_name);
        // The limit above keeps all of these within 32 bits.
        for (index, field) in [content.len() as u32, address, raw_size as u32, offset as u32, 0, 0, 0, READ_ONLY_DATA]
            .into_iter()
            .enumerate()
        {
            put(&mut image, entry + 8 + index * 4, field);
        }
        names.push(name);
    }
    let count = names.len() as u16;
    image[header.coff + 2..header.coff + 4].copy_from_slice(&count.to_le_bytes());
    put(&mut image, header.optional + 8, data_size);
    put(&mut image, header.optional + 56, address_end.next_multiple_of(header.section_alignment));
    // Nobody checks the sum of an EFI program; a stale one is worse than none.
    put(&mut image, header.optional + 64, 0);
    Ok(image)
}

/// The program without one of its sections; as it is when it has none of this name. Nothing may refer to the section.
pub fn without(image: &[u8], name: &str) -> Result<Vec<u8>, PeError> {
    let header = Header::read(image)?;
    if header.signed {
        return Err(PeError::Signed);
    }
    let Some(index) = header.sections.iter().position(|section| section.name == name) else {
        return Ok(image.to_vec());
    };
    let gap = header.raw[index].clone();
    let moved = |offset: usize| if offset >= gap.end { offset - gap.len() } else { offset };
    let headers_end = header.table + header.sections.len() * SECTION_HEADER;
    if !gap.is_empty() && gap.start < headers_end || gap.end > image.len() {
        return Err(PeError::Malformed { why: "a section is outside the file or inside its header" });
    }
    if header.raw.iter().any(|raw| raw.start < gap.end && gap.start < raw.end && *raw != gap) {
        return Err(PeError::Malformed { why: "two sections share a place in the file" });
    }
    let mut rest = [&image[..gap.start], &image[gap.end..]].concat();
    let entry = |index: usize| header.table + index * SECTION_HEADER;
    let count = header.sections.len();
    rest.copy_within(entry(index + 1)..entry(count), entry(index));
    rest[entry(count - 1)..entry(count)].fill(0);
    for at in (0..count - 1).map(entry) {
        let offset = get(&rest, at + 20).unwrap_or(0) as usize;
        put(&mut rest, at + 20, moved(offset) as u32);
    }
    rest[header.coff + 2..header.coff + 4].copy_from_slice(&(count as u16 - 1).to_le_bytes());
    // Symbols are for debuggers, and what pointed at them does not any more.
    put(&mut rest, header.coff + 8, 0);
    put(&mut rest, header.coff + 12, 0);
    put(&mut rest, header.optional + 8, header.data_size.saturating_sub(gap.len() as u32));
    Ok(rest)
}

/// What is read of a program's header before anything is done with it.
pub(crate) struct Header {
    /// Offset of the COFF header, after the signature `PE\0\0`.
    coff: usize,
    /// Offset of the optional header.
    pub(crate) optional: usize,
    table: usize,
    section_alignment: u32,
    file_alignment: usize,
    data_size: u32,
    /// Where the first section's content starts: the end of the room for headers.
    first_content: usize,
    signed: bool,
    sections: Vec<Section>,
    /// Where each section is in the file, with its padding.
    pub(crate) raw: Vec<Range<usize>>,
}

impl Header {
    pub(crate) fn read(image: &[u8]) -> Result<Self, PeError> {
        let malformed = |why| PeError::Malformed { why };
        if image.len() > SIZE_LIMIT {
            return Err(PeError::Size { size: image.len() });
        }
        if !image.starts_with(b"MZ") {
            return Err(malformed("it does not start with MZ"));
        }
        let short = || malformed("it ends inside its header");
        let signature = get(image, 0x3c).ok_or_else(short)? as usize;
        if get(image, signature).ok_or_else(short)? != u32::from_le_bytes(*b"PE\0\0") {
            return Err(malformed("there is no PE header"));
        }
        let coff = signature + 4;
        let count = get16(image, coff + 2).ok_or_else(short)? as usize;
        let optional = coff + 20;
        let optional_size = get16(image, coff + 16).ok_or_else(short)? as usize;
        if get16(image, optional).ok_or_else(short)? != 0x20b || optional_size < 152 {
            return Err(malformed("it is not of 64 bits"));
        }
        let field = |offset| get(image, optional + offset).ok_or_else(short);
        let (section_alignment, file_alignment) = (field(32)?, field(36)?);
        for alignment in [section_alignment, file_alignment] {
            if !alignment.is_power_of_two() || !(8..=1 << 20).contains(&alignment) {
                return Err(malformed("its alignment is no power of two from 8 bytes to 1 MiB"));
            }
        }
        let table = optional + optional_size;
        let (mut sections, mut raw) = (Vec::new(), Vec::new());
        let mut first_content = field(60)? as usize;
        for entry in (0..count).map(|index| table + index * SECTION_HEADER) {
            let name = image.get(entry..entry + 8).ok_or_else(short)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let number = |offset| get(image, entry + offset).ok_or_else(short);
            let (size, address, raw_size, offset) = (number(8)?, number(12)?, number(16)?, number(20)? as usize);
            let in_file = size.min(raw_size) as usize;
            let end = address.checked_add(size).filter(|end| *end as usize <= SIZE_LIMIT);
            let end = end.ok_or_else(|| malformed("a section is loaded beyond 256 MiB"))?;
            if offset + in_file > image.len() {
                return Err(malformed("a section passes the end of the file"));
            }
            if raw_size > 0 {
                first_content = first_content.min(offset);
            }
            let name = long_name(image, coff, name).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
            raw.push(offset..offset + raw_size as usize);
            sections.push(Section { name, addresses: address..end, content: offset..offset + in_file });
        }
        // Data directory 4, the certificate table: present in the header since `optional_size` was checked.
        let signed = field(112 + 4 * 8)? != 0;
        let data_size = field(8)?;
        let file_alignment = file_alignment as usize;
        Ok(Self {
            coff,
            optional,
            table,
            section_alignment,
            file_alignment,
            data_size,
            first_content: first_content.min(image.len()),
            signed,
            sections,
            raw,
        })
    }
}

/// A name of more than eight bytes: `/` and where it is in the table of strings behind the symbols.
fn long_name(image: &[u8], coff: usize, name: &[u8]) -> Option<String> {
    let offset: usize = std::str::from_utf8(name.strip_prefix(b"/")?).ok()?.parse().ok()?;
    let (symbols, count) = (get(image, coff + 8)? as usize, get(image, coff + 12)? as usize);
    let strings = symbols.checked_add(count.checked_mul(SYMBOL)?)?;
    let text = image.get(strings.checked_add(offset)?..)?;
    let end = text.iter().take(NAME_LIMIT).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

pub(crate) fn get(image: &[u8], offset: usize) -> Option<u32> {
    let bytes = image.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn get16(image: &[u8], offset: usize) -> Option<u16> {
    let bytes = image.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

pub(crate) fn put(image: &mut [u8], offset: usize, value: u32) {
    image[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest program with one section and room for four headers.
    pub(crate) fn stub() -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[..2].copy_from_slice(b"MZ");
        put(&mut image, 0x3c, 0x40);
        image[0x40..0x44].copy_from_slice(b"PE\0\0");
        image[0x46..0x48].copy_from_slice(&1_u16.to_le_bytes());
        image[0x54..0x56].copy_from_slice(&240_u16.to_le_bytes());
        let optional = 0x58;
        image[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (offset, value) in [(32, 0x200), (36, 0x200), (56, 0x1200), (60, 0x200), (108, 16)] {
            put(&mut image, optional + offset, value);
        }
        let entry = optional + 240;
        image[entry..entry + 5].copy_from_slice(b".text");
        for (offset, value) in [(8, 0x1f0), (12, 0x1000), (16, 0x200), (20, 0x200)] {
            put(&mut image, entry + offset, value);
        }
        image[0x200..].fill(0x90);
        image
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let kernel = vec![7; 5000];
        let image = append(&stub(), &[(".cmdline", b"quiet"), (".linux", &kernel)]).expect("fits");
        assert_eq!(section(&image, ".cmdline"), Ok(Some(&b"quiet"[..])));
        assert_eq!(section(&image, ".linux"), Ok(Some(&kernel[..])));
        assert_eq!(section(&image, ".initrd"), Ok(None));
        let found = sections(&image).expect("still a program");
        assert_eq!(found[0], sections(&stub()).expect("a program")[0], "the stub's own section stays");
        assert!(found.windows(2).all(|pair| pair[0].addresses.end <= pair[1].addresses.start), "{found:?}");
        assert!(found[1..].iter().all(|section| section.addresses.start % PAGE == 0), "{found:?}");
        assert_eq!(get(&image, 0x58 + 56), Some(found[2].addresses.end.next_multiple_of(0x200)));
        assert_eq!(image.len() % 0x200, 0);
    }

    #[test]
    fn a_section_is_taken_out_and_the_rest_stays() {
        let long = vec![7; 5000];
        let image = append(&stub(), &[(".sbat", b"old"), (".linux", &long)]).expect("fits");
        let rest = without(&image, ".sbat").expect("taken out");
        assert_eq!(rest.len(), image.len() - 0x200);
        assert_eq!(section(&rest, ".sbat"), Ok(None));
        assert_eq!(section(&rest, ".linux"), Ok(Some(&long[..])));
        assert_eq!(section(&rest, ".text"), section(&stub(), ".text"));
        let again = append(&rest, &[(".sbat", b"new and longer")]).expect("fits");
        assert_eq!(section(&again, ".sbat"), Ok(Some(&b"new and longer"[..])));
        assert_eq!(without(&image, ".none").as_deref(), Ok(&image[..]));
    }

    #[test]
    fn names_room_and_signatures_are_checked() {
        let name = |name: &str| PeError::Name { name: name.to_owned() };
        assert_eq!(append(&stub(), &[(".text", b"")]), Err(name(".text")));
        assert_eq!(append(&stub(), &[(".toolongs", b"")]), Err(name(".toolongs")));
        let many = [(".a", &b"x"[..]), (".b", b"x"), (".c", b"x"), (".d", b"x")];
        assert_eq!(append(&stub(), &many), Err(PeError::Full { name: ".d".to_owned(), sections: 4 }));
        let mut signed = stub();
        put(&mut signed, 0x58 + 112 + 32, 0x400);
        assert_eq!(append(&signed, &[(".a", b"x")]), Err(PeError::Signed));
    }

    #[test]
    fn a_long_name_is_in_the_table_behind_the_symbols() {
        let mut image = append(&stub(), &[("/4", b"x")]).expect("fits");
        let strings = image.len() + SYMBOL;
        put(&mut image, 0x44 + 8, strings as u32 - SYMBOL as u32);
        put(&mut image, 0x44 + 12, 1);
        assert_eq!(section(&image, "/4"), Ok(Some(&b"x"[..])), "without the table the short name stays");
        image.resize(strings, 0);
        image.extend_from_slice(b"\x11\0\0\0.vendor_cert\0");
        assert_eq!(section(&image, ".vendor_cert"), Ok(Some(&b"x"[..])));
    }

    #[test]
    fn a_program_without_any_content_keeps_its_header() {
        let mut image = stub();
        let entry = 0x58 + 240;
        put(&mut image, entry + 16, 0);
        put(&mut image, entry + 20, 0);
        let extended = append(&image, &[(".cmdline", b"quiet")]).expect("fits");
        assert_eq!(section(&extended, ".cmdline"), Ok(Some(&b"quiet"[..])));
    }

    #[test]
    fn a_torn_program_is_an_error() {
        let image = append(&stub(), &[(".linux", &[7; 600])]).expect("fits");
        for length in 0..image.len() - 0x200 {
            assert!(sections(&image[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(flips in prop::collection::vec((0..0x400_usize, any::<u8>()), 0..12)) {
            let mut image = stub();
            for (offset, value) in flips {
                image[offset] = value;
            }
            if let Ok(extended) = append(&image, &[(".cmdline", b"quiet")]) {
                prop_assert_eq!(section(&extended, ".cmdline"), Ok(Some(&b"quiet"[..])));
            }
            let _ = without(&image, ".text");
            let _ = crate::authenticode::digest(&image);
            let _ = crate::authenticode::signed_digests(&image);
        }

        #[test]
        fn no_garbage_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut image = bytes.clone();
            prop_assert!(sections(&bytes).is_err() || bytes.starts_with(b"MZ"));
            image.splice(0..0, *b"MZ");
            let _ = sections(&image);
        }
    }
}
