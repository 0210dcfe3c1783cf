//! Descriptors that travel over a Unix socket beside bytes.
//!
//! Both ends know beforehand how many may come. Received descriptors are closed on `execve`; more than expected is an
//! error, and the kernel has then closed what did not fit.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// At most so many descriptors travel with one message.
pub const DESCRIPTORS: usize = 8;

/// Sends `bytes` with `descriptors` attached to the first of them; returns how many bytes went.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > DESCRIPTORS
        || !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(Errno::TOOBIG);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// Receives bytes into `bytes` and descriptors into `descriptors`; returns how many bytes came, 0 at the end.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(incoming) = message {
            descriptors.extend(incoming);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS {
        return Err(Errno::TOOBIG);
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_as_the_same_file() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, b"content").expect("written");
        std::io::Seek::rewind(&mut file).expect("a file");
        assert_eq!(send(&here, b"take this", &[file.as_fd()]), Ok(9));
        let (mut bytes, mut descriptors) = ([0; 32], Vec::new());
        assert_eq!(receive(&there, &mut bytes, &mut descriptors), Ok(9));
        let mut text = String::new();
        File::from(descriptors.pop().expect("one came")).read_to_string(&mut text).expect("readable");
        assert_eq!(text, "content");
    }

    #[test]
    fn more_than_expected_is_refused() {
        let (here, there) = UnixStream::pair().expect("a pair");
        assert_eq!(send(&here, b"x", &[here.as_fd(); DESCRIPTORS + 1]), Err(Errno::TOOBIG));
        send(&here, b"x", &[here.as_fd(); DESCRIPTORS]).expect("as many as fit");
        send(&here, b"x", &[here.as_fd()]).expect("one more");
        let (mut bytes, mut descriptors) = ([0; 1], Vec::new());
        assert_eq!(receive(&there, &mut bytes, &mut descriptors), Ok(1));
        assert_eq!(receive(&there, &mut bytes, &mut descriptors), Err(Errno::TOOBIG));
    }
}
