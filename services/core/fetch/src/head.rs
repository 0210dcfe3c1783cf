//! The head of a request as it is written, and the head of an answer as it is read (RFC 9112).
//!
//! An answer is read strictly: what two readers could understand in two ways is refused.

use crate::allow::Method;
use crate::body::Body;
use crate::origin::Url;
use crate::secret::{HeaderForm, SecretValue};

/// The head of an answer is at most so long.
pub(crate) const LIMIT: usize = 32 * 1024;

/// More headers than anybody sends.
const HEADERS: usize = 128;

/// One request.
pub struct Ask<'a> {
    /// What is asked for.
    pub method: Method,
    /// Of whom.
    pub url: &'a Url,
    /// What is handed over, with its media type.
    pub body: Option<(&'a str, &'a [u8])>,
    /// The header with a secret.
    pub credential: Option<(&'a HeaderForm, &'a SecretValue)>,
}

/// Writes the head of a request behind what is in `out`.
pub fn write_head(ask: &Ask<'_>, out: &mut Vec<u8>) {
    let (url, origin) = (ask.url, ask.url.origin());
    let mut line = |text: &str| {
        out.extend(text.as_bytes());
        out.extend(b"\r\n");
    };
    line(&format!("{} {} HTTP/1.1", ask.method.word(), url.target()));
    line(&format!("Host: {}", origin.authority()));
    line("User-Agent: aios");
    line("Accept: */*");
    // A packed answer could hold a secret that nobody finds in it.
    line("Accept-Encoding: identity");
    line("Connection: close");
    if let Some((media_type, content)) = ask.body {
        line(&format!("Content-Type: {media_type}"));
        line(&format!("Content-Length: {}", content.len()));
    } else if ask.method == Method::Post {
        line("Content-Length: 0");
    }
    if let Some((form, value)) = ask.credential {
        form.write(value, out);
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

/// The head cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Too long.
    #[error("its head is longer than {LIMIT} bytes or has more than {HEADERS} headers")]
    Long,
    /// Not HTTP.
    #[error("it is no answer of HTTP/1.1")]
    Form,
    /// A length that is none, or two of them.
    #[error("it does not say clearly how long its content is")]
    Length,
    /// A transfer encoding that is not spoken here.
    #[error("its content comes in a transfer encoding other than 'chunked'")]
    Transfer,
    /// A packed content.
    #[error("its content is packed, which it was asked not to be")]
    Packed,
}

impl Head {
    /// Where the head ends in what came so far; nothing when more has to come.
    pub fn end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        match bytes.windows(4).take(LIMIT).position(|four| four == b"\r\n\r\n") {
            Some(place) => Ok(Some(place + 4)),
            None if bytes.len() >= LIMIT => Err(HeadError::Long),
            None => Ok(None),
        }
    }

    /// Reads a whole head, with the empty line.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let text = bytes.strip_suffix(b"\r\n\r\n").ok_or(HeadError::Form)?;
        // Values may hold bytes above ASCII; they are nobody's business here and must not look like something else.
        let text: String =
            text.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' }).collect();
        let mut lines = text.split("\r\n");
        let status = status(lines.next().unwrap_or_default()).ok_or(HeadError::Form)?;
        let headers = lines.map(|line| header(line).ok_or(HeadError::Form)).collect::<Result<Vec<_>, _>>()?;
        if headers.len() > HEADERS {
            return Err(HeadError::Long);
        }
        Ok(Self { status, headers })
    }

    /// The three digits.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Where it says the content is instead.
    pub fn location(&self) -> Option<&str> {
        self.values("location").next()
    }

    /// How the content that follows is read; at most `limit` bytes of it.
    pub fn body(&self, method: Method, limit: usize) -> Result<Body, HeadError> {
        if self.values("content-encoding").any(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(HeadError::Packed);
        }
        if method == Method::Head || matches!(self.status, 204 | 304) {
            return Ok(Body::nothing());
        }
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(HeadError::Length);
        }
        let mut codings = self.values("transfer-encoding");
        match (codings.next(), codings.next(), length) {
            (Some(coding), None, None) if coding.eq_ignore_ascii_case("chunked") => Ok(Body::chunked(limit)),
            // Both would let two readers find two ends.
            (Some(_), _, Some(_)) => Err(HeadError::Length),
            (Some(_), ..) => Err(HeadError::Transfer),
            (None, _, Some(length)) => {
                let is_number = (1..=15).contains(&length.len()) && length.bytes().all(|b| b.is_ascii_digit());
                let length = length.parse().ok().filter(|_| is_number).ok_or(HeadError::Length)?;
                Ok(Body::of_length(length, limit))
            }
            (None, _, None) => Ok(Body::until_end(limit)),
        }
    }

    /// The head as text, without what was not asked for: the status and each header in a line.
    pub fn text(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        format!("{}\n", self.status) + &headers.collect::<String>()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let is_status = digits.bytes().all(|byte| byte.is_ascii_digit()) && (reason.is_empty() || reason.starts_with(' '));
    digits.parse().ok().filter(|number| is_status && (100..600).contains(number))
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    // A name with a space behind it, or a line that goes on with the one before, is read in two ways by two readers.
    if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\r', '\n', '\0']) {
        return None;
    }
    Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::Progress;

    fn parse(text: &str) -> Result<Head, HeadError> {
        Head::parse(text.as_bytes())
    }

    fn written(ask: &Ask<'_>) -> String {
        let mut out = Vec::new();
        write_head(ask, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_request_says_whom_it_asks_and_has_its_credential_once() {
        let url: Url = "http://10.0.2.2:8080/a?b".parse().expect("a URL");
        let get = written(&Ask { method: Method::Get, url: &url, body: None, credential: None });
        assert!(get.starts_with("GET /a?b HTTP/1.1\r\nHost: 10.0.2.2:8080\r\n") && get.ends_with("\r\n\r\n"));
        assert!(!get.contains("Content-Length"));
        let form: HeaderForm = "Authorization: Bearer {}".parse().expect("a form");
        let value: SecretValue = "canary-0123".parse().expect("a value");
        let body: Option<(&str, &[u8])> = Some(("text/plain", b"hello"));
        let post = written(&Ask { method: Method::Post, url: &url, body, credential: Some((&form, &value)) });
        assert!(post.contains("Content-Length: 5\r\nAuthorization: Bearer canary-0123\r\n\r\n"), "{post}");
    }

    #[test]
    fn an_answer_says_how_long_its_content_is() {
        let body = |headers: &str| parse(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"))?.body(Method::Get, 100);
        assert_eq!(body("Content-Length: 5\r\n"), Ok(Body::of_length(5, 100)));
        assert_eq!(body("Content-Length: 5\r\ncontent-length: 5\r\n"), Ok(Body::of_length(5, 100)));
        assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Body::chunked(100)));
        assert_eq!(body(""), Ok(Body::until_end(100)));
        for (headers, expected) in [
            ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::Length),
            ("Content-Length: +5\r\n", HeadError::Length),
            ("Content-Length: 5, 5\r\n", HeadError::Length),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadError::Transfer),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::Transfer),
            ("Content-Encoding: gzip\r\n", HeadError::Packed),
        ] {
            assert_eq!(body(headers), Err(expected), "{headers}");
        }
        let mut nothing = parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").expect("a head");
        assert_eq!(nothing.body(Method::Head, 100), Ok(Body::nothing()));
        nothing.status = 204;
        assert_eq!(nothing.body(Method::Get, 100), Ok(Body::nothing()));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for wrong in [
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "",
        ] {
            assert_eq!(parse(wrong), Err(HeadError::Form), "{wrong:?}");
        }
        assert_eq!(Head::end(&[b'a'; LIMIT]), Err(HeadError::Long));
        assert_eq!(Head::end(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(Head::end(b"a\r\n\r\nbody"), Ok(Some(5)));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        assert_eq!(parse(&many), Err(HeadError::Long));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "HTTP/1.1 [0-9]{0,4}[ -~]{0,9}\r\n([A-Za-z-]{0,20}: ?[ -~]{0,20}\r\n){0,5}\r\n") {
            let _ = Head::end(&bytes);
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(head) = Head::parse(bytes)
                    && let Ok(mut body) = head.body(Method::Get, 50)
                {
                    let mut out = Vec::new();
                    let progress = body.take(bytes, &mut out);
                    prop_assert!(out.len() <= 50 && !(progress == Ok(Progress::More) && body == Body::nothing()));
                }
            }
        }
    }
}
