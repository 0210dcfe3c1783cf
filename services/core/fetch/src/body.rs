//! The content of an answer, put together from what comes over the connection: of a length, in chunks, or up to the end.

/// What stands behind the length of a chunk, and each line after the last one, is at most so long.
const LINE: usize = 1024;

/// Lines after the last chunk.
const TRAILERS: usize = 32;

/// What has to come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    expected: Expected,
    room: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Bytes(u64),
    Everything,
    Chunk(Chunk),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunk {
    /// A line with a length; what came of it.
    Size(Vec<u8>),
    /// So many bytes.
    Data(u64),
    /// The end of the line behind the bytes; what came of it.
    Behind(Vec<u8>),
    /// Lines until an empty one; what came of one, and how many there may be.
    Trailer(Vec<u8>, usize),
}

/// Whether there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    More,
    /// That was all.
    Done,
}

/// The content is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit.
    #[error("its content is longer than is fetched")]
    Long,
    /// A chunk without a proper length.
    #[error("its content is not in proper chunks")]
    Chunk,
    /// The connection ended before it.
    #[error("the connection ended before its content did")]
    Cut,
}

impl Body {
    /// No content at all.
    pub fn nothing() -> Self {
        Self { expected: Expected::Done, room: 0 }
    }

    pub(crate) fn of_length(length: u64, limit: usize) -> Self {
        let expected = if length == 0 { Expected::Done } else { Expected::Bytes(length) };
        Self { expected, room: limit }
    }

    pub(crate) fn chunked(limit: usize) -> Self {
        Self { expected: Expected::Chunk(Chunk::Size(Vec::new())), room: limit }
    }

    pub(crate) fn until_end(limit: usize) -> Self {
        Self { expected: Expected::Everything, room: limit }
    }

    /// Whether nothing has to come.
    pub fn is_done(&self) -> bool {
        self.expected == Expected::Done
    }

    /// Takes what came and adds the content in it to `out`. What comes behind the content is left aside.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, BodyError> {
        while !bytes.is_empty() && !self.is_done() {
            match &mut self.expected {
                Expected::Done => {}
                Expected::Everything => {
                    keep(&mut self.room, bytes, out)?;
                    bytes = &[];
                }
                Expected::Bytes(left) => {
                    let (now, rest) = split(bytes, *left);
                    keep(&mut self.room, now, out)?;
                    *left -= now.len() as u64;
                    bytes = rest;
                    if *left == 0 {
                        self.expected = Expected::Done;
                    }
                }
                Expected::Chunk(chunk) => {
                    let (next, rest) = chunk.take(bytes, &mut self.room, out)?;
                    bytes = rest;
                    if let Some(next) = next {
                        self.expected = next;
                    }
                }
            }
        }
        Ok(if self.is_done() { Progress::Done } else { Progress::More })
    }

    /// The connection has ended.
    pub fn end(&self) -> Result<(), BodyError> {
        match self.expected {
            Expected::Done | Expected::Everything => Ok(()),
            Expected::Bytes(_) | Expected::Chunk(_) => Err(BodyError::Cut),
        }
    }
}

impl Chunk {
    /// What is expected next, when that changes, and what is left of the bytes.
    fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        room: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<(Option<Expected>, &'a [u8]), BodyError> {
        match self {
            Self::Size(line) => {
                let Some(rest) = whole_line(line, bytes)? else { return Ok((None, &[])) };
                let next = match size(line).ok_or(BodyError::Chunk)? {
                    0 => Self::Trailer(Vec::new(), TRAILERS),
                    // Said before the bytes come, so that none of them are waited for.
                    size if size > *room as u64 => return Err(BodyError::Long),
                    size => Self::Data(size),
                };
                Ok((Some(Expected::Chunk(next)), rest))
            }
            Self::Data(left) => {
                let (now, rest) = split(bytes, *left);
                keep(room, now, out)?;
                *left -= now.len() as u64;
                let next = (*left == 0).then(|| Expected::Chunk(Self::Behind(Vec::new())));
                Ok((next, rest))
            }
            Self::Behind(line) => {
                let Some(rest) = whole_line(line, bytes)? else { return Ok((None, &[])) };
                if !line.is_empty() {
                    return Err(BodyError::Chunk);
                }
                Ok((Some(Expected::Chunk(Self::Size(Vec::new()))), rest))
            }
            Self::Trailer(line, left) => {
                let Some(rest) = whole_line(line, bytes)? else { return Ok((None, &[])) };
                if line.is_empty() {
                    return Ok((Some(Expected::Done), rest));
                }
                line.clear();
                *left = left.checked_sub(1).ok_or(BodyError::Chunk)?;
                Ok((None, rest))
            }
        }
    }
}

fn split(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()))
}

fn keep(room: &mut usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
    *room = room.checked_sub(bytes.len()).ok_or(BodyError::Long)?;
    out.extend(bytes);
    Ok(())
}

/// Adds to `line` up to its end, which is cut off; what comes behind it, or nothing when the end has not come.
fn whole_line<'a>(line: &mut Vec<u8>, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, BodyError> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (now, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
    if line.len() + now.len() > LINE {
        return Err(BodyError::Chunk);
    }
    line.extend(now);
    if end.is_none() {
        return Ok(None);
    }
    let length = line.strip_suffix(b"\r\n").ok_or(BodyError::Chunk)?.len();
    line.truncate(length);
    Ok(Some(rest))
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let is_number = (1..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut body: Body, bytes: &[u8], step: usize) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        for part in bytes.chunks(step.max(1)) {
            if body.take(part, &mut out)? == Progress::Done {
                return Ok(out);
            }
        }
        body.end().map(|()| out)
    }

    #[test]
    fn a_content_ends_where_it_says() {
        let chunks = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nmore";
        for step in 1..chunks.len() {
            assert_eq!(read(Body::chunked(100), chunks, step), Ok(b"hello!".to_vec()));
            assert_eq!(read(Body::of_length(3, 100), b"hello", step), Ok(b"hel".to_vec()));
            assert_eq!(read(Body::until_end(100), b"hello", step), Ok(b"hello".to_vec()));
        }
        assert_eq!(read(Body::nothing(), b"hello", 9), Ok(vec![]));
    }

    #[test]
    fn what_is_too_long_or_cut_is_not_taken() {
        assert_eq!(read(Body::of_length(6, 5), b"hello!", 9), Err(BodyError::Long));
        assert_eq!(read(Body::until_end(4), b"hello", 9), Err(BodyError::Long));
        assert_eq!(read(Body::chunked(4), b"5\r\n", 9), Err(BodyError::Long));
        assert_eq!(read(Body::chunked(9), b"ffffffffffff\r\n", 99), Err(BodyError::Long));
        assert_eq!(read(Body::of_length(6, 9), b"hello", 9), Err(BodyError::Cut));
        assert_eq!(read(Body::chunked(9), b"5\r\nhello\r\n", 99), Err(BodyError::Cut));
        for wrong in ["\r\n", "x\r\n", "-1\r\n", "1\n", "fffffffffffff\r\n", "1\r\nab\r\n", "1\r\na0\r\n"] {
            assert_eq!(read(Body::chunked(9), wrong.as_bytes(), 99), Err(BodyError::Chunk), "{wrong:?}");
        }
        let endless = vec![b'1'; LINE + 1];
        assert_eq!(read(Body::chunked(9), &endless, 7), Err(BodyError::Chunk));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILERS + 1));
        assert_eq!(read(Body::chunked(9), trailers.as_bytes(), 99), Err(BodyError::Chunk));
    }

    proptest! {
        #[test]
        fn what_was_cut_into_chunks_comes_back(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1usize..50) {
            let mut sent = Vec::new();
            for part in &parts {
                sent.extend(format!("{:x}\r\n", part.len()).bytes());
                sent.extend(part);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\n\r\n");
            prop_assert_eq!(read(Body::chunked(1000), &sent, step), Ok(parts.concat()));
        }

        #[test]
        fn no_bytes_panic_or_outgrow_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "([0-9a-f]{1,3}(;a)?\r\n[a-z]{0,30}\r\n){0,5}", step in 1usize..50) {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                for body in [Body::chunked(50), Body::until_end(50), Body::of_length(70, 50)] {
                    prop_assert!(read(body, bytes, step).is_ok_and(|out| out.len() <= 50) || bytes.len() <= 1000);
                }
            }
        }
    }
}
