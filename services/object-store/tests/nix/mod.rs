//! A signed binary cache made by Nix itself, and a server that gives its files, changed where a test wants it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// A program with a reference to a library: what is asked for.
pub(crate) const PROGRAM: &str = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-prog-1.0";

/// The files of a cache by their place.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What Nix made.
pub(crate) struct Made {
    /// Everything that the cache serves.
    pub(crate) files: Files,
    /// The key that signed it, `name:base64`.
    pub(crate) key: String,
    /// Another key of the same name.
    pub(crate) wrong_key: String,
    /// The path that [`PROGRAM`] refers to.
    pub(crate) library: String,
}

/// Makes a cache, or says that this machine has no Nix.
pub(crate) fn make(compression: &str) -> Option<Made> {
    if Command::new("nix").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: this machine has no Nix; install the package nix-bin");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let library_file = here.join("library.txt");
    // Larger than the windows and buffers on its way.
    let lines: String = (0..200_000_u32).map(|line| format!("{:x}\n", line.wrapping_mul(2_654_435_761))).collect();
    fs::write(&library_file, lines).expect("written");
    let library = nix(here, &["nix-store", "--add", &library_file.to_string_lossy()], "");

    let tree = here.join("root").join(&PROGRAM[1..]);
    fs::create_dir_all(tree.join("bin")).expect("a folder");
    fs::write(tree.join("bin/prog"), format!("uses {library}\n")).expect("written");
    fs::set_permissions(tree.join("bin/prog"), fs::Permissions::from_mode(0o755)).expect("executable");
    symlink("bin/prog", tree.join("run")).expect("a link");
    // Registering needs no build, and so no builder, sandbox or user of Nix.
    let hash = nix(here, &["nix-hash", "--type", "sha256", &tree.to_string_lossy()], "");
    let size = nix_bytes(here, &["nix-store", "--dump", &tree.to_string_lossy()], "").len();
    nix(here, &["nix-store", "--load-db"], &format!("{PROGRAM}\n{hash}\n{size}\n\n1\n{library}\n"));

    let keys = ["right", "wrong"].map(|name| {
        let secret = nix(here, &["nix", "key", "generate-secret", "--key-name", "test-1"], "");
        fs::write(here.join(name), &secret).expect("written");
        nix(here, &["nix", "key", "convert-secret-to-public"], &secret)
    });
    let cache = here.join("cache");
    let to =
        format!("file://{}?secret-key={}&compression={compression}", cache.display(), here.join("right").display());
    nix(here, &["nix", "copy", "--to", &to, PROGRAM], "");
    let mut files = Files::new();
    read_all(&cache, "", &mut files);
    let [key, wrong_key] = keys;
    Some(Made { files, key, wrong_key, library })
}

fn read_all(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a type").is_dir() {
            read_all(&entry.path(), &place, files);
        } else {
            files.insert(place, fs::read(entry.path()).expect("readable"));
        }
    }
}

fn nix(home: &Path, command: &[&str], input: &str) -> String {
    String::from_utf8(nix_bytes(home, command, input)).expect("text").trim().to_owned()
}

fn nix_bytes(home: &Path, command: &[&str], input: &str) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env("HOME", home)
        .env("NIX_CONFIG", "experimental-features = nix-command\nsubstituters =\nbuild-users-group =\n")
        .env("NIX_REMOTE", format!("local?root={}", home.join("root").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Nix starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A server on this machine's loopback; it ends with the test's process.
pub(crate) struct Server {
    /// Its address.
    pub(crate) url: String,
    /// What it gives; a test may change it at any time.
    pub(crate) files: Arc<Mutex<Files>>,
    /// What it was asked for.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (files, asked) = (Arc::new(Mutex::new(files)), Arc::new(Mutex::new(Vec::new())));
        std::thread::spawn({
            let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
            move || {
                for stream in listener.incoming() {
                    // A client that breaks off is part of some tests.
                    let _ = answer(stream.expect("a connection"), &files, &asked);
                }
            }
        });
        Self { url, files, asked }
    }

    /// Changes the file whose place ends so.
    pub(crate) fn change(&self, ending: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files.lock().expect("no panic");
        let (_, file) = files.iter_mut().find(|(place, _)| place.ends_with(ending)).expect("a known place");
        change(file);
    }
}

fn answer(mut stream: TcpStream, files: &Mutex<Files>, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let place = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let file = files.lock().expect("no panic").get(&place).cloned();
    asked.lock().expect("no panic").push(place);
    match file {
        Some(file) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())?;
            stream.write_all(&file)
        }
        None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}
