//! A server of static files on this machine's loopback: what update repositories and binary caches need, no more.
//!
//! A machine reaches it at 10.0.2.2, the emulated network's gateway. It answers GET and HEAD with byte ranges, one
//! request a connection, and remembers what was asked for, so that a scenario can see what a machine fetched.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::scenario::Failure;

/// The longest request that is read.
const REQUEST_LIMIT: u64 = 16 * 1024;

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Serves the files of a folder.
    pub fn serve(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::broken(format!("cannot serve {}: {error}", folder.display()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (folder, asked, ending) = (folder.to_owned(), asked.clone(), ending.clone());
            move || {
                for stream in listener.incoming() {
                    if ending.load(Ordering::Acquire) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let (folder, asked) = (folder.clone(), asked.clone());
                    // A client that hangs must not keep others waiting. Its errors are its own.
                    std::thread::spawn(move || answer(&stream, &folder, &asked));
                }
            }
        });
        Ok(Self { address, asked, ending, thread: Some(thread) })
    }

    /// The server's address as a machine of this fixture sees it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}", self.address.port())
    }

    /// The paths that were asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the accept; if it fails, nobody can connect any more and the thread holds only its socket.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

fn answer(stream: &TcpStream, folder: &Path, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut head = String::new();
    let mut reader = BufReader::new(stream.take(REQUEST_LIMIT));
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            break;
        }
    }
    let mut stream = stream;
    let Some(request) = Request::parse(&head) else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("/{}", request.path.display()));
    let path = folder.join(&request.path);
    let file = File::open(&path).ok().filter(|_| path.is_file());
    let Some(mut file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let size = file.metadata()?.len();
    let (status, first, length) = match request.range {
        None => ("200 OK".to_owned(), 0, size),
        Some(range) => match range.within(size) {
            Some((first, length)) => {
                let last = first + length - 1;
                (format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}"), first, length)
            }
            None => (format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{size}"), 0, 0),
        },
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if request.body == Body::Wanted {
        file.seek(SeekFrom::Start(first))?;
        io::copy(&mut file.take(length), &mut stream)?;
    }
    stream.flush()
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Below the served folder, never outside.
    path: PathBuf,
    range: Option<Range>,
    body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Wanted,
    Omitted,
}

/// The bytes from one to another, or to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: Option<u64>,
}

impl Range {
    fn within(self, size: u64) -> Option<(u64, u64)> {
        let end = self.last.map_or(size, |last| last.saturating_add(1).min(size));
        let length = end.checked_sub(self.first).filter(|length| *length > 0)?;
        Some((self.first, length))
    }
}

impl Request {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let body = match words.next()? {
            "GET" => Body::Wanted,
            "HEAD" => Body::Omitted,
            _ => return None,
        };
        let path = PathBuf::from(words.next()?.strip_prefix('/')?.split('?').next()?);
        if !path.components().all(|component| matches!(component, Component::Normal(_))) {
            return None;
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let range = headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("range"));
        let range = match range {
            Some((_, value)) => Some(Self::range(value.trim())?),
            None => None,
        };
        Some(Self { path, range, body })
    }

    fn range(value: &str) -> Option<Range> {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        let last = match last {
            "" => None,
            last => Some(last.parse().ok()?),
        };
        Some(Range { first: first.parse().ok()?, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(web: &Web, request: &str) -> String {
        let mut stream = TcpStream::connect(web.address).expect("the server");
        stream.write_all(request.as_bytes()).expect("room");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn files_and_their_ranges_are_served_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("digits"), "0123456789").expect("room");
        let web = Web::serve(folder.path()).expect("a port");
        assert!(ask(&web, "GET /digits HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n0123456789"));
        assert!(ask(&web, "GET /digits HTTP/1.1\r\nRange: bytes=3-5\r\n\r\n").ends_with("\r\n\r\n345"));
        assert!(ask(&web, "GET /digits HTTP/1.1\r\nrange: bytes=8-\r\n\r\n").ends_with("\r\n\r\n89"));
        assert!(ask(&web, "GET /digits HTTP/1.1\r\nRange: bytes=10-\r\n\r\n").starts_with("HTTP/1.1 416"));
        assert!(ask(&web, "GET /nothing HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask(&web, "GET /../digits HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400"));
        assert_eq!(web.asked().last().map(String::as_str), Some("/nothing"));
    }

    proptest! {
        #[test]
        fn no_request_leaves_the_folder(path in "[./a%\\\\~]{0,20}", rest in "\\PC*") {
            if let Some(request) = Request::parse(&format!("GET /{path} HTTP/1.1\r\n{rest}\r\n\r\n")) {
                prop_assert!(request.path.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }

        #[test]
        fn a_range_is_inside_the_file(first: u64, last: Option<u64>, size: u64) {
            if let Some((first, length)) = (Range { first, last }).within(size) {
                prop_assert!(length > 0 && first.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
