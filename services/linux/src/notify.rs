//! The socket on which services say `READY=1`, with the kernel's word on who said it.
//!
//! Every datagram carries a handle on its sender; a sender that has already gone has none and is not believed.

#![expect(unsafe_code, reason = "SCM_PIDFD has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const SO_PASSPIDFD: libc::c_int = 76;
const SCM_PIDFD: libc::c_int = 4;

/// A message is at most so long; the rest of a longer one is cut off.
pub const MESSAGE_LIMIT: usize = 4096;

/// The receiving end.
#[derive(Debug)]
pub struct NotifySocket(UnixDatagram);

/// One datagram.
#[derive(Debug)]
pub struct Message {
    /// What it says.
    pub text: Vec<u8>,
    /// Who sent it.
    pub sender: OwnedFd,
}

impl NotifySocket {
    /// Binds the socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the kernel reads one integer that lives until the call returns.
        match unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSPIDFD, (&raw const on).cast(), size)
        } {
            0 => Ok(Self(socket)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next message, if one has come. Messages without a living sender are dropped.
    pub fn next(&self) -> io::Result<Option<Message>> {
        loop {
            let mut text = vec![0; MESSAGE_LIMIT];
            let mut control = [0_u64; 8];
            let mut piece = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
            // SAFETY: all zero is a valid empty header.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = &raw mut piece;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control);
            // SAFETY: the header points to `text` and `control`, with their sizes; both outlive the call.
            let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
            if length < 0 {
                return match io::Error::last_os_error() {
                    none if none.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    error => Err(error),
                };
            }
            text.truncate(length as usize);
            if let Some(sender) = sender(&header) {
                return Ok(Some(Message { text, sender }));
            }
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes the handle on the sender, and closes whatever else was attached: a sender may pass descriptors of its own.
fn sender(header: &libc::msghdr) -> Option<OwnedFd> {
    let mut sender = None;
    // SAFETY: recvmsg filled `header` and its control buffer, which is alive; the macros stay within its length. A
    // received descriptor is new and owned by nobody until it is wrapped here, each exactly once.
    unsafe {
        let mut item = libc::CMSG_FIRSTHDR(header);
        while !item.is_null() {
            let data = libc::CMSG_DATA(item).cast::<libc::c_int>();
            let bytes = (*item).cmsg_len - libc::CMSG_LEN(0) as usize;
            if (*item).cmsg_level == libc::SOL_SOCKET && matches!((*item).cmsg_type, SCM_PIDFD | libc::SCM_RIGHTS) {
                for index in 0..bytes / size_of::<libc::c_int>() {
                    let number = data.add(index).read_unaligned();
                    if number < 0 {
                        continue;
                    }
                    let descriptor = OwnedFd::from_raw_fd(number);
                    if (*item).cmsg_type == SCM_PIDFD {
                        sender = Some(descriptor);
                    }
                }
            }
            item = libc::CMSG_NXTHDR(header, item);
        }
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_with_its_sender() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = NotifySocket::bind(&path).expect("a socket");
        assert!(socket.next().expect("no error").is_none());
        let client = UnixDatagram::unbound().expect("a socket");
        client.send_to(b"READY=1", &path).expect("sent");
        let message = socket.next().expect("no error").expect("one message");
        assert_eq!(message.text, b"READY=1");
        assert_eq!(crate::peer::process_of(&message.sender).expect("it runs").pid, std::process::id());
    }
}
