//! Two ends of a socket without a bus: calls, errors and descriptors arrive; a descriptor opened by one user can be used
//! by a program of another.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use aios_daemon::proxy::{Objects1Proxy, Policy1Proxy};
use zbus::connection::Builder;
use zbus::{Connection, Fd, OwnedFd};

struct Objects;

#[zbus::interface(name = "org.aios.Objects1")]
impl Objects {
    async fn put(&self, name: &str, content: OwnedFd) -> zbus::fdo::Result<String> {
        let mut text = String::new();
        let copy = content.as_fd().try_clone_to_owned().map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
        File::from(copy).read_to_string(&mut text).map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
        if name == "closed" {
            return Err(zbus::fdo::Error::AccessDenied("closed: it is closed; open it".into()));
        }
        Ok(format!("{name}={text}"))
    }
}

async fn pair() -> (Connection, Connection) {
    let (server, client) = UnixStream::pair().expect("a pair");
    let server = Builder::unix_stream(server)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/aios/Objects1", Objects)
        .build();
    let client = Builder::unix_stream(client).p2p().build();
    tokio::try_join!(server, client).expect("both ends agree")
}

#[tokio::test(flavor = "current_thread")]
async fn a_descriptor_travels_and_a_refusal_keeps_its_words() {
    let (_server, client) = pair().await;
    let objects = Objects1Proxy::new(&client).await.expect("a proxy");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"content").expect("written");
    file.rewind().expect("rewound");
    assert_eq!(objects.put("a", Fd::from(file.as_fd())).await.expect("stored"), "a=content");
    let error = objects.put("closed", Fd::from(file.as_fd())).await.expect_err("refused");
    assert!(error.to_string().contains("closed: it is closed; open it"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_interface_that_is_not_served_is_an_error() {
    let (_server, client) = pair().await;
    let policy = Policy1Proxy::new(&client).await.expect("a proxy needs no server");
    assert!(policy.approvals().await.is_err());
}
