//! The broker against servers on this machine: what reaches them, what comes back, and what a secret never does.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aios_fetch::{Binding, Method, Proxy, Root};
use aios_ids::ActionId;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vault::broker::{Answer, CONTENT_LIMIT, FetchError, Rules, Wanted, fetch, told};
use vault::sealed::{About, Secret};

const CANARY: &str = "canary-5e0f-91ab";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that remembers the heads of what it was asked and answers what `answer` makes of them.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Speech {
    Clear,
    Tls,
}

impl Server {
    fn start(speech: Speech, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((LOCAL, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that hangs up in the middle is what some of the tests are about.
                match speech {
                    Speech::Clear => drop(serve(stream, &kept, &answer)),
                    Speech::Tls => {
                        let tls = ServerConnection::new(tls_config()).expect("a configuration");
                        drop(serve(StreamOwned::new(tls, stream), &kept, &answer));
                    }
                }
            }
        });
        Self { port, heads }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn serve(
    stream: impl Read + Write,
    heads: &Mutex<Vec<String>>,
    answer: &impl Fn(&str) -> Vec<u8>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    head.push_str(&String::from_utf8_lossy(&body));
    heads.lock().expect("no panic").push(head.clone());
    let stream = reader.get_mut();
    stream.write_all(&answer(&head))?;
    stream.flush()
}

fn tls_config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from(include_bytes!("tls/server.der").as_slice());
    let key = PrivateKeyDer::try_from(include_bytes!("tls/server.key").as_slice()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls_rustcrypto::provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).expect("a certificate with its key"))
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn to(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn secret(hosts: &[&str]) -> Arc<Secret> {
    let binding = Binding::from_words(hosts.iter().copied(), None).expect("a binding");
    Arc::new(Secret {
        name: "push".parse().expect("a name"),
        value: CANARY.parse().expect("a value"),
        about: About { binding, action: ActionId::new(1, [1; 10]) },
    })
}

fn rules(allow: &str) -> Rules {
    let certificate = include_bytes!("tls/root.der").to_vec();
    Rules { allow: allow.parse().expect("a list"), roots: vec![Root::Certificate(certificate)], proxy: None }
}

/// Later than any of these tests ends.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// Fetches, with every name standing for `address`; also tells to whom the secret was about to go.
async fn ask_as(
    method: Method,
    url: &str,
    allow: &str,
    secret: Option<Arc<Secret>>,
    address: IpAddr,
) -> (Result<Answer, FetchError>, Vec<String>) {
    let body = (method == Method::Post).then(|| ("text/plain".to_owned(), b"handed over".to_vec()));
    let wanted = Wanted { method, url: url.parse().expect("a URL"), body };
    let told = Mutex::new(Vec::new());
    let about_to_send = |origin: aios_fetch::Origin| {
        told.lock().expect("no panic").push(origin.to_string());
        async { Ok(()) }
    };
    let fetched = fetch(wanted, &rules(allow), secret, soon(), |_| async move { Ok(address) }, about_to_send).await;
    (fetched, told.into_inner().expect("no panic"))
}

async fn ask(method: Method, url: &str, allow: &str, secret: Option<Arc<Secret>>) -> Result<Answer, FetchError> {
    ask_as(method, url, allow, secret, LOCAL).await.0
}

#[tokio::test]
async fn what_the_list_has_is_fetched_and_nothing_else_is_asked() {
    let server = Server::start(Speech::Clear, |head| match head.starts_with("POST") {
        true => ok(head.rsplit("\r\n").next().unwrap_or_default()),
        false => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
    });
    let allow = format!("GET,HEAD,POST http://127.0.0.1:{}", server.port);
    let got = ask(Method::Get, &server.url("/a?b"), &allow, None).await.expect("allowed");
    assert_eq!((got.status, got.content.as_slice(), got.redacted), (200, b"hello".as_slice(), 0));
    let posted = ask(Method::Post, &server.url("/"), &allow, None).await.expect("allowed");
    assert_eq!(posted.content, b"handed over");
    let head = ask(Method::Head, &server.url("/"), &allow, None).await.expect("allowed");
    assert_eq!(head.content, b"200\ntransfer-encoding: chunked\n");
    let asked = server.heads().len();
    for (method, allow) in
        [(Method::Get, ""), (Method::Post, "GET http://127.0.0.1:1"), (Method::Post, "GET https://a")]
    {
        let refused = ask(method, &server.url("/"), allow, None).await.expect_err("not on the list");
        assert!(refused.to_string().contains("aios settings set fetch.allow"), "{refused}");
    }
    assert_eq!(server.heads().len(), asked);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_asked() {
    let server = Server::start(Speech::Clear, |_| ok("inside"));
    let (url, allow) =
        (format!("http://api.example:{}/", server.port), format!("GET http://api.example:{}", server.port));
    let refused = ask(Method::Get, &url, &allow, None).await.expect_err("it leads to this machine");
    assert!(matches!(refused, FetchError::Address(_)), "{refused}");
    assert_eq!(server.heads(), Vec::<String>::new());
}

/// An address of the open network, which the proxy below has on this machine.
const OPEN: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// A proxy for which every address is this machine's; tells its address and what it was asked for.
fn proxy(answer: &'static str) -> (Proxy, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((LOCAL, 0)).expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a proxy");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(near.try_clone().expect("a copy")).lines().map_while(Result::ok);
            let line = lines.next().unwrap_or_default();
            // The client says nothing more before it is answered, so nothing is lost with the reader.
            lines.find(String::is_empty);
            let port = line.split(' ').nth(1).and_then(|target| target.rsplit(':').next()?.parse().ok()).unwrap_or(0);
            kept.lock().expect("no panic").push(line);
            if near.write_all(answer.as_bytes()).is_ok()
                && answer.contains(" 200 ")
                && let Ok(far) = TcpStream::connect((LOCAL, port))
            {
                carry(near, far);
            }
        }
    });
    (proxy, asked)
}

fn carry(near: TcpStream, far: TcpStream) {
    let copies = (near.try_clone().expect("a copy"), far.try_clone().expect("a copy"));
    for (mut from, mut to) in [(near, far), (copies.1, copies.0)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

/// Gets `url`, whose name stands for `address`, by way of `proxy`.
async fn get_through(proxy: Proxy, url: &str, address: IpAddr) -> Result<Answer, FetchError> {
    let wanted = Wanted { method: Method::Get, url: url.parse().expect("a URL"), body: None };
    let origin = wanted.url.origin().to_string();
    let rules = Rules { proxy: Some(proxy), ..rules(&format!("GET {origin}")) };
    let secret = url.starts_with("https").then(|| secret(&[&origin]));
    fetch(wanted, &rules, secret, soon(), |_| async move { Ok(address) }, |_| async { Ok(()) }).await
}

#[tokio::test]
async fn the_open_network_is_asked_through_the_proxy_by_the_address_that_was_judged() {
    let (tls, clear) = (Server::start(Speech::Tls, |_| ok("in TLS")), Server::start(Speech::Clear, |_| ok("clear")));
    let (proxy, asked) = proxy("HTTP/1.1 200 Connection established\r\n\r\n");
    let got = get_through(proxy, &format!("https://api.example:{}/", tls.port), OPEN).await.expect("reached");
    assert_eq!(got.content, b"in TLS");
    assert!(tls.heads()[0].contains(CANARY), "the host has the secret, in TLS");
    let got = get_through(proxy, &format!("http://api.example:{}/", clear.port), OPEN).await.expect("reached");
    assert_eq!(got.content, b"clear");
    let expected = [tls.port, clear.port].map(|port| format!("CONNECT {OPEN}:{port} HTTP/1.1"));
    assert_eq!(*asked.lock().expect("no panic"), expected, "by address, and nothing of the request");
    // What leads inside is refused as without a proxy, and an address that was written down is a neighbour's.
    let inside = get_through(proxy, &format!("https://api.example:{}/", tls.port), LOCAL).await.expect_err("inside");
    assert!(matches!(inside, FetchError::Address(_)), "{inside}");
    let got = get_through(proxy, &clear.url("/"), LOCAL).await.expect("asked directly");
    assert_eq!((got.content.as_slice(), asked.lock().expect("no panic").len()), (b"clear".as_slice(), 2));
}

#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_or_plays_the_host_is_told() {
    let server = Server::start(Speech::Tls, |_| ok("never"));
    let url = format!("https://api.example:{}/", server.port);
    let cases = [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse", "said more"),
        ("220 mail.example ESMTP\r\n\r\n", "no answer of HTTP"),
    ];
    for (answer, expected) in cases {
        let (proxy, _) = proxy(answer);
        let error = told(&get_through(proxy, &url, OPEN).await.expect_err("no tunnel"), None);
        assert!(error.contains(expected) && error.contains("network.proxy"), "{error}");
    }
    let nobody = TcpListener::bind((LOCAL, 0)).and_then(|listener| listener.local_addr()).expect("a port");
    let gone = format!("http://{nobody}").parse().expect("a proxy");
    let error = told(&get_through(gone, &url, OPEN).await.expect_err("nobody listens"), None);
    assert!(error.contains("network.proxy") && error.contains("cannot be talked to"), "{error}");
    assert!(server.heads().is_empty(), "the secret went nowhere");
}

#[tokio::test]
async fn a_secret_goes_to_its_host_and_comes_back_from_nowhere() {
    let packed = BASE64_STANDARD.encode(format!("user:{CANARY}"));
    let server =
        Server::start(Speech::Clear, move |head| ok(&format!("{head} {packed} {}", CANARY.replace('-', "%2D"))));
    let (allow, host) =
        (format!("GET,HEAD http://127.0.0.1:{}", server.port), format!("http://127.0.0.1:{}", server.port));
    let (got, told) = ask_as(Method::Get, &server.url("/"), &allow, Some(secret(&[&host])), LOCAL).await;
    let got = got.expect("allowed");
    assert!(server.heads()[0].contains(&format!("\r\nAuthorization: Bearer {CANARY}\r\n")));
    assert_eq!(told, [host]);
    let text = String::from_utf8_lossy(&got.content).into_owned();
    assert!(!text.contains(CANARY) && text.contains("Bearer [secret]") && got.redacted == 2, "{text}");
    assert!(!text.contains(&BASE64_STANDARD.encode(CANARY)[..16]), "{text}");
}

#[tokio::test]
async fn another_host_does_not_get_it_not_even_by_a_redirection() {
    let elsewhere = Server::start(Speech::Clear, |_| ok("caught"));
    let target = elsewhere.url("/");
    let server = Server::start(Speech::Clear, move |_| to(&target));
    let allow = format!("GET http://127.0.0.1:{}; GET http://127.0.0.1:{}", server.port, elsewhere.port);
    let bound = secret(&[&format!("http://127.0.0.1:{}", server.port)]);
    let (refused, told) = ask_as(Method::Get, &server.url("/"), &allow, Some(Arc::clone(&bound)), LOCAL).await;
    assert!(matches!(refused, Err(FetchError::NotBound { .. })), "{refused:?}");
    assert_eq!((told.len(), server.heads().len(), elsewhere.heads().len()), (1, 1, 0));
    // Without a secret the same way is open, and the first host alone is refused with one that is for another.
    let got = ask(Method::Get, &server.url("/"), &allow, None).await.expect("both are on the list");
    assert_eq!(got.content, b"caught");
    let (refused, told) = ask_as(Method::Get, &elsewhere.url("/"), &allow, Some(bound), LOCAL).await;
    assert!(matches!(refused, Err(FetchError::NotBound { .. })) && told.is_empty());
    assert!(elsewhere.heads().iter().all(|head| !head.contains(CANARY)));
}

#[tokio::test]
async fn a_redirection_stays_on_the_list_and_ends() {
    let circle = Server::start(Speech::Clear, |_| to("/again"));
    let allow = format!("GET,POST http://127.0.0.1:{}", circle.port);
    assert!(matches!(ask(Method::Get, &circle.url("/"), &allow, None).await, Err(FetchError::Circles)));
    assert!(matches!(ask(Method::Post, &circle.url("/"), &allow, None).await, Err(FetchError::PostElsewhere(_))));
    let away = Server::start(Speech::Clear, |_| to("http://169.254.169.254/latest"));
    let allow = format!("GET http://127.0.0.1:{}", away.port);
    assert!(matches!(ask(Method::Get, &away.url("/"), &allow, None).await, Err(FetchError::NotAllowed(_))));
}

#[tokio::test]
async fn a_server_cannot_put_the_secret_into_an_error() {
    let server = Server::start(Speech::Clear, |_| to(&format!("http://{CANARY}.example/")));
    let host = format!("http://127.0.0.1:{}", server.port);
    let (allow, secret) = (format!("GET {host}"), secret(&[&host]));
    let error =
        ask(Method::Get, &server.url("/"), &allow, Some(Arc::clone(&secret))).await.expect_err("not on the list");
    assert!(error.to_string().contains(CANARY));
    let text = told(&error, Some(&secret));
    assert!(!text.contains(CANARY) && text.contains("[secret].example"), "{text}");
}

#[tokio::test]
async fn what_is_too_long_cut_packed_or_no_answer_is_not_kept() {
    let server = Server::start(Speech::Clear, |head| match head.split(' ').nth(1) {
        Some("/long") => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CONTENT_LIMIT + 1).into_bytes(),
        Some("/endless") => {
            let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            answer.resize(CONTENT_LIMIT + 100, b'x');
            answer
        }
        Some("/cut") => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec(),
        Some("/packed") => b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nxxx".to_vec(),
        Some("/two") => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
        Some("/missing") => b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnothing".to_vec(),
        Some("/head") => vec![b'x'; 100_000],
        Some("/continue") => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => b"SSH-2.0-x\r\n".to_vec(),
    });
    let allow = format!("GET http://127.0.0.1:{}", server.port);
    for path in ["/long", "/endless", "/cut"] {
        let refused = ask(Method::Get, &server.url(path), &allow, None).await;
        // Of what never comes the end is not waited for.
        assert!(matches!(refused, Err(FetchError::Body { .. } | FetchError::Exchange { .. })), "{path}: {refused:?}");
    }
    for path in ["/packed", "/two", "/head", "/ssh"] {
        let refused = ask(Method::Get, &server.url(path), &allow, None).await;
        assert!(matches!(refused, Err(FetchError::Head { .. } | FetchError::Exchange { .. })), "{path}: {refused:?}");
    }
    let refused = ask(Method::Get, &server.url("/missing"), &allow, None).await;
    assert!(matches!(refused, Err(FetchError::Status { status: 404, .. })));
    let empty = ask(Method::Get, &server.url("/continue"), &allow, None).await.expect("no content");
    assert_eq!((empty.status, empty.content.len()), (204, 0));
}

#[tokio::test]
async fn in_tls_the_host_proves_who_it_is_before_anything_is_sent() {
    let server = Server::start(Speech::Tls, |_| ok("in TLS"));
    let at = format!("https://127.0.0.1:{}", server.port);
    let (allow, url) = (format!("GET {at}"), format!("{at}/"));
    let got = ask(Method::Get, &url, &allow, Some(secret(&[&at]))).await.expect("the certificate is for 127.0.0.1");
    assert_eq!(got.content, b"in TLS");
    assert!(server.heads()[0].contains(CANARY));

    // The public authorities do not vouch for it, and nobody does where nobody is believed.
    for roots in [vec![Root::Public], vec![]] {
        let wanted = Wanted { method: Method::Get, url: url.parse().expect("a URL"), body: None };
        let rules = Rules { allow: allow.parse().expect("a list"), roots, proxy: None };
        let sent = fetch(wanted, &rules, Some(secret(&[&at])), soon(), |_| async { Ok(LOCAL) }, |_| async { Ok(()) });
        assert!(matches!(sent.await, Err(FetchError::Connect(_))));
    }
    // A server that speaks in the clear proves nothing.
    let clear = Server::start(Speech::Clear, |_| ok("in the clear"));
    let at = format!("https://127.0.0.1:{}", clear.port);
    let refused = ask(Method::Get, &format!("{at}/"), &format!("GET {at}"), Some(secret(&[&at]))).await;
    assert!(matches!(refused, Err(FetchError::Connect(_))), "{refused:?}");
    assert_eq!((server.heads().len(), clear.heads().len()), (1, 0));
}

#[tokio::test]
async fn a_use_that_cannot_be_recorded_does_not_happen() {
    let server = Server::start(Speech::Clear, |_| ok("sent"));
    let host = format!("http://127.0.0.1:{}", server.port);
    let wanted = Wanted { method: Method::Get, url: server.url("/").parse().expect("a URL"), body: None };
    let no_log = |_| async { Err("the evidence log is full".to_owned()) };
    let rules = rules(&format!("GET {host}"));
    let refused = fetch(wanted, &rules, Some(secret(&[&host])), soon(), |_| async { Ok(LOCAL) }, no_log).await;
    assert!(matches!(refused, Err(FetchError::Unrecorded(_))));
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
    let listener = TcpListener::bind((LOCAL, 0)).expect("a port");
    let host = format!("http://127.0.0.1:{}", listener.local_addr().expect("an address").port());
    std::thread::spawn(move || {
        let mut stream: TcpStream = listener.accept().expect("a client").0;
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let wanted = Wanted { method: Method::Get, url: format!("{host}/").parse().expect("a URL"), body: None };
    let until = Instant::now() + Duration::from_secs(1);
    let address = |_| async { Ok(LOCAL) };
    let given_up = fetch(wanted, &rules(&format!("GET {host}")), None, until, address, |_| async { Ok(()) }).await;
    assert!(matches!(given_up, Err(FetchError::Exchange { .. })), "{given_up:?}");
}
