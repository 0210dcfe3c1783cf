//! The socket below a service's connections: what a caller announces is looked at before there is room made for it.
//!
//! zbus makes room for a message once its first sixteen bytes are there, for as much as they announce: up to 128 MiB, which is
//! all that most services may use. It keeps a line of the greeting however long it gets, and it panics on an empty one, which
//! ends a program of ours. Here a connection ends before that.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::fdo::ConnectionCredentials;

/// The longest message that a service reads. The largest thing in one is a policy bundle of at most 1 MiB.
pub const LIMIT: u64 = 2 * 1024 * 1024;

/// The longest line of a greeting; the lines that there are have some forty bytes.
const LINE_LIMIT: usize = 512;

/// Every message begins with so many bytes; they say how long it is.
const HEADER: usize = 16;

/// The most descriptors that the kernel passes at once.
const DESCRIPTORS: usize = 253;

/// The service's end of a caller's connection; objects are added to it.
pub fn server(stream: UnixStream) -> io::Result<Builder<'static>> {
    stream.set_nonblocking(true)?;
    let socket = Measured(Arc::new(tokio::net::UnixStream::from_std(stream)?));
    Ok(Builder::socket(socket).server(zbus::Guid::generate()).p2p())
}

/// How long the message is that begins with these bytes.
fn announced(header: [u8; HEADER]) -> Option<u64> {
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        match header[0] {
            b'l' => Some(u64::from(u32::from_le_bytes(bytes))),
            b'B' => Some(u64::from(u32::from_be_bytes(bytes))),
            _ => None,
        }
    };
    let (body, fields) = (number(4)?, number(12)?);
    Some((HEADER as u64 + fields).next_multiple_of(8) + body)
}

struct Measured(Arc<tokio::net::UnixStream>);

impl Socket for Measured {
    type ReadHalf = Incoming;
    type WriteHalf = Outgoing;

    fn split(self) -> Split<Incoming, Outgoing> {
        let bytes = Bytes { socket: Arc::clone(&self.0), early: Vec::new(), descriptors: Vec::new() };
        Split::new(Incoming { bytes, line: Vec::new() }, Outgoing(self.0))
    }
}

/// What arrives, by the byte.
#[derive(Debug)]
struct Bytes {
    socket: Arc<tokio::net::UnixStream>,
    /// What was read before somebody wanted it.
    early: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

#[async_trait::async_trait]
impl ReadHalf for Bytes {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut descriptors = std::mem::take(&mut self.descriptors);
        if !self.early.is_empty() {
            let length = buffer.len().min(self.early.len());
            buffer[..length].copy_from_slice(&self.early[..length]);
            self.early.drain(..length);
            return Ok((length, descriptors));
        }
        let (length, new) = self.socket.async_io(Interest::READABLE, || receive(self.socket.as_ref(), buffer)).await?;
        descriptors.extend(new);
        Ok((length, descriptors))
    }
}

/// What arrives: a greeting by the line, then messages.
#[derive(Debug)]
pub(crate) struct Incoming {
    bytes: Bytes,
    /// The greeting's line that is not complete.
    line: Vec<u8>,
}

#[async_trait::async_trait]
impl ReadHalf for Incoming {
    async fn receive_message(
        &mut self,
        number: u64,
        bytes: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<zbus::Message> {
        // The greeting was read by the line, so nothing that belongs to a message was read with it.
        self.bytes.early.splice(0..0, bytes.drain(..));
        self.bytes.descriptors.append(descriptors);
        let mut header = [0; HEADER];
        let mut length = 0;
        while length < HEADER {
            let (more, descriptors) = self.bytes.recvmsg(&mut header[length..]).await?;
            if more == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the caller hung up").into());
            }
            // They are the message's whose first byte they came with, and are handed on with its next bytes.
            self.bytes.descriptors.extend(descriptors);
            length += more;
        }
        if announced(header).is_none_or(|length| length > LIMIT) {
            return Err(zbus::Error::ExcessData);
        }
        self.bytes.receive_message(number, &mut header.to_vec(), &mut Vec::new()).await
    }

    /// The greeting alone asks for bytes: it gets no more than the rest of a line.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let (length, descriptors) = self.bytes.recvmsg(buffer).await?;
        self.bytes.descriptors.extend(descriptors);
        let end = buffer[..length].iter().position(|byte| *byte == b'\n').map_or(length, |end| end + 1);
        self.bytes.early.splice(0..0, buffer[end..length].iter().copied());
        self.line.extend_from_slice(&buffer[..end]);
        if self.line.len() > LINE_LIMIT || (self.line.ends_with(b"\n") && !self.line.ends_with(b"\r\n")) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the caller's greeting has a line that is none"));
        }
        if self.line.ends_with(b"\n") {
            self.line.clear();
        }
        Ok((end, Vec::new()))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(&self.bytes.socket)
    }
}

/// What leaves.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<tokio::net::UnixStream>);

#[async_trait::async_trait]
impl WriteHalf for Outgoing {
    async fn sendmsg(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.async_io(Interest::WRITABLE, || send(self.0.as_ref(), bytes, descriptors)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.0.as_ref(), rustix::net::Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(&self.0)
    }
}

fn receive(socket: &tokio::net::UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("the caller sent more descriptors than can be taken"));
    }
    Ok((received.bytes, descriptors))
}

fn send(socket: &tokio::net::UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message has more descriptors than can be sent"));
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// For the greeting alone: who a caller is, the service has found out by then.
fn credentials(socket: &tokio::net::UnixStream) -> io::Result<ConnectionCredentials> {
    let peer = socket.peer_cred()?;
    Ok(ConnectionCredentials::default().set_unix_user_id(peer.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(endian: u8, body: [u8; 4], fields: [u8; 4]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = endian;
        header[4..8].copy_from_slice(&body);
        header[12..].copy_from_slice(&fields);
        header
    }

    #[test]
    fn the_first_bytes_say_how_long_a_message_is() {
        let (little, big) = (u32::to_le_bytes, u32::to_be_bytes);
        assert_eq!(announced(header(b'l', little(5), little(9))), Some(32 + 5));
        assert_eq!(announced(header(b'B', big(5), big(8))), Some(24 + 5));
        assert_eq!(announced(header(b'l', [0xff; 4], [0xff; 4])), Some(2 * u64::from(u32::MAX) + 17));
        assert_eq!(announced(header(b'x', [0; 4], [0; 4])), None);
    }

    #[test]
    fn a_message_of_zbus_is_as_long_as_it_announces() {
        let message = zbus::Message::method_call("/a", "B").build(&("x", 7u64));
        let message = message.expect("a message");
        let bytes = message.data().bytes();
        let header = bytes[..HEADER].try_into().expect("it is longer");
        assert_eq!(announced(header), Some(bytes.len() as u64));
    }
}
