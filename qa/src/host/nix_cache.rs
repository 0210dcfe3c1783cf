//! A binary cache made and signed by Debian's Nix, a foreign tool: what the object store has to understand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scenario::Failure;

/// Debian's static busybox: a program that needs no library.
const BUSYBOX: &str = "/bin/busybox";

/// What the program from the store prints when its closure came along.
pub const GREETING: &str = "hello from the store";

/// Two store paths: `hello-1` has a program and names a file of `greeting-1`.
const EXPRESSION: &str = r#"
let
  tools = "${builtins.path { path = ./tools; name = "tools"; }}";
  build = name: script: derivation {
    inherit name;
    system = "x86_64-linux";
    builder = "${tools}/bin/busybox";
    args = [ "sh" "-c" script ];
    PATH = "${tools}/bin";
  };
  greeting = build "greeting-1" "busybox mkdir -p $out/share; echo @GREETING@ > $out/share/greeting";
in build "hello-1" ''
  busybox mkdir -p $out/bin
  busybox cp $PATH/busybox $out/bin/busybox
  echo ${greeting}/share/greeting > $out/greeting-path
''
"#;

/// A signed binary cache on this machine.
#[derive(Debug)]
pub struct NixCache {
    /// The cache's files, to be served.
    pub folder: PathBuf,
    /// The store path of the program.
    pub program: String,
    /// The store path that the program needs.
    pub greeting: String,
    /// The key that the cache is signed with, in Nix's form `name:base64`.
    pub key: String,
    /// A key of the same name that signed nothing.
    pub wrong_key: String,
}

impl NixCache {
    /// Builds the paths, signs them and writes the cache below `folder`.
    pub fn make(folder: &Path) -> Result<Self, Failure> {
        let nix = Nix { home: folder.join("nix") };
        let tools = nix.home.join("tools/bin");
        fs::create_dir_all(&tools).map_err(Failure::file("make", &tools))?;
        fs::copy(BUSYBOX, tools.join("busybox"))
            .map_err(|error| Failure::broken(format!("cannot copy {BUSYBOX} ({error}); install busybox-static")))?;
        let expression = nix.home.join("hello.nix");
        let text = EXPRESSION.replace("@GREETING@", GREETING);
        fs::write(&expression, text).map_err(Failure::file("write", &expression))?;

        let store = nix.home.join("root").display().to_string();
        let built = nix.run("nix-build", &["--store", &store, "--no-out-link", &expression.to_string_lossy()])?;
        let program = built.trim().to_owned();
        let closure = nix.run("nix-store", &["--store", &store, "--query", "--references", &program])?;
        let greeting = closure.lines().next().unwrap_or_default().to_owned();

        let key = nix.key("right")?;
        let wrong_key = nix.key("wrong")?;
        let cache = folder.join("cache");
        nix.copy(&cache, &program)?;
        Ok(Self { folder: cache, program, greeting, key, wrong_key })
    }
}

/// A path of nothing but weight.
const BALLAST: &str = r#"
let
  tools = "${builtins.path { path = ./tools; name = "tools"; }}";
in derivation {
  name = "ballast-@MIB@";
  system = "x86_64-linux";
  builder = "${tools}/bin/busybox";
  args = [ "sh" "-c" "$PATH/busybox mkdir $out; $PATH/busybox dd if=/dev/zero of=$out/zeroes bs=1M count=@MIB@" ];
  PATH = "${tools}/bin";
}
"#;

impl NixCache {
    /// Adds a path of so many MiB, which is quick to fetch; gives it.
    pub fn add_ballast(&self, mib: u32) -> Result<String, Failure> {
        let nix = Nix { home: self.folder.with_file_name("nix") };
        let expression = nix.home.join(format!("ballast-{mib}.nix"));
        let text = BALLAST.replace("@MIB@", &mib.to_string());
        fs::write(&expression, text).map_err(Failure::file("write", &expression))?;
        let store = nix.home.join("root").display().to_string();
        let built = nix.run("nix-build", &["--store", &store, "--no-out-link", &expression.to_string_lossy()])?;
        let path = built.trim().to_owned();
        nix.copy(&self.folder, &path)?;
        Ok(path)
    }
}

impl NixCache {
    /// Adds a path with these files of (name, content); gives it.
    pub fn add_files(&self, name: &str, files: &[(&str, Vec<u8>)]) -> Result<String, Failure> {
        let nix = Nix { home: self.folder.with_file_name("nix") };
        let folder = nix.home.join(name);
        fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
        for (file, content) in files {
            let path = folder.join(file);
            fs::write(&path, content).map_err(Failure::file("write", &path))?;
        }
        let store = nix.home.join("root").display().to_string();
        let added = nix.run("nix-store", &["--store", &store, "--add", &folder.to_string_lossy()])?;
        let path = added.trim().to_owned();
        nix.copy(&self.folder, &path)?;
        Ok(path)
    }
}

struct Nix {
    /// Nix keeps everything it writes below here.
    home: PathBuf,
}

impl Nix {
    /// Signs a path and all it needs, and writes them into a cache.
    fn copy(&self, cache: &Path, path: &str) -> Result<(), Failure> {
        let store = self.home.join("root").display().to_string();
        let secret = self.home.join("right.secret");
        let to = format!("file://{}?secret-key={}", cache.display(), secret.display());
        self.run("nix", &["copy", "--store", &store, "--to", &to, path]).map(drop)
    }

    fn key(&self, name: &str) -> Result<String, Failure> {
        let (secret, public) = (self.home.join(format!("{name}.secret")), self.home.join(format!("{name}.public")));
        let files = [secret.to_string_lossy(), public.to_string_lossy()];
        self.run("nix-store", &["--generate-binary-cache-key", "aios-test-1", &files[0], &files[1]])?;
        let key = fs::read_to_string(&public).map_err(Failure::file("read", &public))?;
        Ok(key.trim().to_owned())
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new(program)
            .args(arguments)
            .env("HOME", &self.home)
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            // No network, no daemon, no build users: the two builds only copy files.
            .env(
                "NIX_CONFIG",
                "experimental-features = nix-command\nsandbox = false\nsubstituters =\nbuild-users-group =\n",
            )
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                Failure::broken(format!("cannot start {program} ({error}); install the package nix-bin"))
            })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::broken(format!("{program} {} failed: {said}", arguments.join(" "))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_holds_both_paths_signed() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = NixCache::make(folder.path()).expect("Nix");
        for path in [&cache.program, &cache.greeting] {
            let hash = path.strip_prefix("/nix/store/").and_then(|name| name.get(..32)).expect("a store path");
            let info = fs::read_to_string(cache.folder.join(format!("{hash}.narinfo"))).expect("its description");
            assert!(info.contains("Sig: aios-test-1:"), "{info}");
        }
        assert_ne!(cache.key, cache.wrong_key);
        let ballast = cache.add_ballast(1).expect("Nix");
        assert!(ballast.ends_with("-ballast-1"), "{ballast}");
        let files = cache.add_files("notes", &[("one", b"1".to_vec())]).expect("Nix");
        assert!(files.starts_with("/nix/store/") && files.ends_with("-notes"), "{files}");
    }
}
