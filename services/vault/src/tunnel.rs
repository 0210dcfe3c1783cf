//! A way through a proxy to one address: what is asked of it, and what it may answer.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use aios_fetch::{Head, HeadError, Proxy};

/// There is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Nobody answers there, or the exchange with it broke off.
    #[error("the proxy cannot be talked to")]
    Exchange(#[from] io::Error),
    /// It speaks something else.
    #[error("the proxy's answer is refused")]
    Answer(#[from] HeadError),
    /// It says no.
    #[error(
        "the proxy makes no tunnel to {to}: it answered with status {status}; it has to take CONNECT to an address, without a \
         name and a pass phrase"
    )]
    Refused {
        /// Where to.
        to: SocketAddr,
        /// What it answered.
        status: u16,
    },
    /// It went on where only the other end may speak.
    #[error("the proxy said more than that there is a tunnel")]
    SaidMore,
}

/// Makes a tunnel of a connection to a proxy; what is read and written after that is between us and `to`.
pub(crate) fn begin(proxy: &mut (impl Read + Write), to: SocketAddr) -> Result<(), TunnelError> {
    proxy.write_all(Proxy::request(to).as_bytes())?;
    proxy.flush()?;
    let (mut came, mut part) = (Vec::new(), [0; 1024]);
    loop {
        if let Some(end) = Head::end(&came)? {
            let status = Head::parse(&came[..end])?.status();
            return match (status, came.len() > end) {
                (200..=299, false) => Ok(()),
                // Nobody speaks first on the web: these bytes would be taken for the host's.
                (200..=299, true) => Err(TunnelError::SaidMore),
                _ => Err(TunnelError::Refused { to, status }),
            };
        }
        match proxy.read(&mut part)? {
            0 => return Err(HeadError::Form.into()),
            count => came.extend(&part[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that answers so, a few bytes at a time.
    struct Says(Vec<u8>, Vec<u8>);

    impl Read for Says {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(into.len()).min(7);
            into[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    impl Write for Says {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn tunnel(answer: &[u8]) -> Result<(), TunnelError> {
        let mut proxy = Says(answer.to_vec(), Vec::new());
        let made = begin(&mut proxy, "93.184.216.34:443".parse().expect("an address"));
        assert!(proxy.1.starts_with(b"CONNECT 93.184.216.34:443 HTTP/1.1\r\n"));
        made
    }

    #[test]
    fn only_a_plain_yes_makes_a_tunnel() {
        assert!(tunnel(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").is_ok());
        assert!(matches!(tunnel(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK"), Err(TunnelError::SaidMore)));
        for status in [100, 302, 403, 407, 502] {
            let refused = tunnel(format!("HTTP/1.1 {status} No\r\n\r\n").as_bytes()).expect_err("no tunnel");
            assert!(matches!(refused, TunnelError::Refused { status: told, .. } if told == status), "{refused}");
        }
        for nonsense in [b"".as_slice(), b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", &[b'x'; 100_000]] {
            assert!(matches!(tunnel(nonsense), Err(TunnelError::Answer(_))));
        }
    }
}
