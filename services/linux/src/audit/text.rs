//! What an audit record says: `audit(SECONDS.MS:SERIAL): key=value …`, where a value is a word, a text in quotes, or, when
//! the text holds anything that quotes cannot, its bytes in hexadecimal.
//!
//! Texts come from the programs that were refused something: names of files that they chose, their own names. They are
//! read as data and have a limit; nothing in them can add a field.

use std::fmt;

/// `linux/audit.h`.
const SECCOMP: u16 = 1326;
const LANDLOCK_ACCESS: u16 = 1423;
const LANDLOCK_DOMAIN: u16 = 1424;
/// `AUDIT_ARCH_X86_64`.
const NATIVE: u64 = 0xc000_003e;

/// A text of a record is kept up to so many bytes.
pub const TEXT_LIMIT: usize = 1024;

/// One record of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditRecord {
    /// Landlock refused something to a process in a domain.
    Refused(Refusal),
    /// Whose a domain is: told once for each, after the first refusal.
    Domain(Domain),
    /// A domain that had refusals is gone.
    DomainGone(DomainId),
    /// A filter stopped a system call.
    Call(StoppedCall),
    /// Something else; its number counts all the same.
    Other,
}

/// The kernel's number of a Landlock domain: never used twice in one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainId(pub u64);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Something that Landlock refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In which domain.
    pub domain: DomainId,
    /// The rights that were missing, such as `fs.read_file`.
    pub missing: String,
    /// To what: a path as the program sees it, an address, a process.
    pub target: String,
}

/// Who made a domain: the process that entered it, before it executed its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// A system call that a filter stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedCall {
    /// Who made it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// The program's path as it sees it.
    pub program: String,
    /// Which call.
    pub call: Call,
}

/// A system call by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Of the machine's own table.
    Native(u64),
    /// Of another architecture's table.
    Foreign(u64),
}

/// Which record it is and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its number.
    pub serial: u32,
    /// Milliseconds since 1970 by the machine's clock, up to one tick of the kernel early.
    pub wall_ms: u64,
}

/// Reads a record's stamp and what it says; none when it is no audit record at all.
pub fn parse(kind: u16, payload: &[u8]) -> Option<(Stamp, AuditRecord)> {
    let text = String::from_utf8_lossy(payload);
    let text = text.trim_end_matches(['\0', '\n', ' ']);
    let (stamp, rest) = text.strip_prefix("audit(")?.split_once("): ").or_else(|| {
        let stamp = text.strip_prefix("audit(")?.strip_suffix("):")?;
        Some((stamp, ""))
    })?;
    let (time, serial) = stamp.rsplit_once(':')?;
    let (seconds, milliseconds) = time.split_once('.')?;
    let wall_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(milliseconds.parse().ok()?)?;
    let stamp = Stamp { serial: serial.parse().ok()?, wall_ms };
    let fields = Fields(rest);
    let record = match kind {
        LANDLOCK_ACCESS => refusal(&fields).map(AuditRecord::Refused),
        LANDLOCK_DOMAIN => domain(&fields),
        SECCOMP => stopped_call(&fields).map(AuditRecord::Call),
        _ => None,
    };
    Some((stamp, record.unwrap_or(AuditRecord::Other)))
}

fn refusal(fields: &Fields<'_>) -> Option<Refusal> {
    let target = match (fields.text("path").or_else(|| fields.text("name")), fields.word("opid")) {
        (Some(path), _) => path,
        (None, Some(pid)) => {
            format!("process {pid} {}", fields.text("ocomm").unwrap_or_default()).trim_end().to_owned()
        }
        (None, None) => address(fields),
    };
    let missing = fields.word("blockers")?;
    let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_' | ',');
    let missing = if missing.chars().all(plain) { cut(missing) } else { "unknown".to_owned() };
    Some(Refusal { domain: domain_id(fields)?, missing, target })
}

/// The address that a socket was to be bound or connected to; empty for a refusal without one.
fn address(fields: &Fields<'_>) -> String {
    for (host, port) in [("daddr", "dest"), ("saddr", "src")] {
        match (fields.word(host), fields.word(port)) {
            (Some(host), Some(port)) => return cut(&format!("{host} port {port}")),
            (None, Some(port)) => return cut(&format!("port {port}")),
            (Some(host), None) => return cut(host),
            (None, None) => {}
        }
    }
    String::new()
}

fn domain(fields: &Fields<'_>) -> Option<AuditRecord> {
    let id = domain_id(fields)?;
    match fields.word("status")? {
        "allocated" => {
            let (pid, uid) = (fields.word("pid")?.parse().ok()?, fields.word("uid")?.parse().ok()?);
            Some(AuditRecord::Domain(Domain { id, pid, uid }))
        }
        "deallocated" => Some(AuditRecord::DomainGone(id)),
        _ => None,
    }
}

fn stopped_call(fields: &Fields<'_>) -> Option<StoppedCall> {
    let number = fields.word("syscall")?.parse().ok()?;
    let native = u64::from_str_radix(fields.word("arch")?, 16).ok()? == NATIVE && fields.word("compat") == Some("0");
    Some(StoppedCall {
        pid: fields.word("pid")?.parse().ok()?,
        uid: fields.word("uid")?.parse().ok()?,
        program: fields.text("exe").or_else(|| fields.text("comm")).unwrap_or_default(),
        call: if native { Call::Native(number) } else { Call::Foreign(number) },
    })
}

fn domain_id(fields: &Fields<'_>) -> Option<DomainId> {
    u64::from_str_radix(fields.word("domain")?, 16).ok().map(DomainId)
}

/// The fields after the stamp.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// A field's value as it stands. A quoted text holds neither quotes nor control characters, but it may hold spaces and
    /// `=`, so fields are found by walking over them.
    fn raw(&self, key: &str) -> Option<&'a str> {
        let mut rest = self.0.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let value = if let Some(quoted) = after.strip_prefix('"') {
                let end = quoted.find('"')? + 2;
                after.get(..end)?
            } else {
                after.split(' ').next()?
            };
            if name == key {
                return Some(value);
            }
            rest = after.get(value.len()..)?.trim_start();
        }
        None
    }

    /// A word or a number.
    fn word(&self, key: &str) -> Option<&'a str> {
        self.raw(key).filter(|value| !value.starts_with('"') && !value.is_empty())
    }

    /// A text: in quotes, or in hexadecimal.
    fn text(&self, key: &str) -> Option<String> {
        let raw = self.raw(key)?;
        if let Some(text) = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            return Some(cut(text));
        }
        let bytes = raw.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        match bytes.collect::<Option<Vec<u8>>>().filter(|_| raw.len() % 2 == 0) {
            Some(bytes) => Some(cut(&String::from_utf8_lossy(&bytes))),
            // The kernel's own words for what it could not write, such as `(null)`.
            None => Some(cut(raw)),
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, text: &str) -> AuditRecord {
        let (stamp, record) = parse(kind, text.as_bytes()).expect("an audit record");
        assert_eq!(stamp.serial, 9);
        record
    }

    #[test]
    fn a_refusal_names_right_and_path() {
        let text = r#"audit(1790000000.123:9): domain=1a2b3c blockers=fs.write_file,fs.truncate path="/etc/a b=c" dev="tmpfs" ino=4"#;
        let AuditRecord::Refused(refusal) = record(LANDLOCK_ACCESS, text) else { panic!("not a refusal") };
        assert_eq!(refusal.domain.to_string(), "1a2b3c");
        assert_eq!((refusal.missing.as_str(), refusal.target.as_str()), ("fs.write_file,fs.truncate", "/etc/a b=c"));
    }

    #[test]
    fn a_name_that_quotes_cannot_hold_is_in_hexadecimal_and_cannot_add_a_field() {
        // The file's name is `x" blockers=none` and a newline.
        let text =
            "audit(1.0:9): domain=5 blockers=fs.read_file path=782220626C6F636B6572733D6E6F6E650A dev=\"vda\" ino=1";
        let AuditRecord::Refused(refusal) = record(LANDLOCK_ACCESS, text) else { panic!("not a refusal") };
        assert_eq!(refusal.missing, "fs.read_file");
        assert_eq!(refusal.target, "x\" blockers=none\n");
    }

    #[test]
    fn what_is_refused_may_be_an_address_or_a_process() {
        for (fields, target) in [
            ("blockers=net.connect_tcp daddr=10.0.2.2 dest=80", "10.0.2.2 port 80"),
            ("blockers=net.bind_tcp src=80", "port 80"),
            ("blockers=scope.signal opid=12 ocomm=\"init\"", "process 12 init"),
            ("blockers=fs.change_topology name=\"/\" dev=\"tmpfs\" ino=1", "/"),
            ("blockers=scope.abstract_unix_socket", ""),
        ] {
            let text = format!("audit(1.0:9): domain=5 {fields}");
            let AuditRecord::Refused(refusal) = record(LANDLOCK_ACCESS, &text) else { panic!("not a refusal") };
            assert_eq!(refusal.target, target);
        }
    }

    #[test]
    fn a_domain_has_an_owner_until_it_is_gone() {
        let text =
            r#"audit(1.0:9): domain=5 status=allocated mode=enforcing pid=300 uid=61007 exe="/init" comm="init""#;
        assert_eq!(
            record(LANDLOCK_DOMAIN, text),
            AuditRecord::Domain(Domain { id: DomainId(5), pid: 300, uid: 61_007 })
        );
        let gone = "audit(1.0:9): domain=5 status=deallocated denials=3";
        assert_eq!(record(LANDLOCK_DOMAIN, gone), AuditRecord::DomainGone(DomainId(5)));
    }

    #[test]
    fn a_stopped_call_names_program_and_number() {
        let text = "audit(1.0:9): auid=4294967295 uid=2000 gid=2000 ses=4294967295 pid=77 comm=\"example-agent\" \
                    exe=\"/usr/lib/aios/example-agent\" sig=0 arch=c000003e syscall=101 compat=0 ip=0x7f code=0x50001";
        let AuditRecord::Call(call) = record(SECCOMP, text) else { panic!("not a call") };
        assert_eq!((call.pid, call.uid, call.call), (77, 2000, Call::Native(101)));
        assert_eq!(call.program, "/usr/lib/aios/example-agent");
        let foreign = text.replace("c000003e", "40000003");
        let AuditRecord::Call(call) = record(SECCOMP, &foreign) else { panic!("not a call") };
        assert_eq!(call.call, Call::Foreign(101));
    }

    #[test]
    fn what_is_not_understood_still_counts() {
        assert_eq!(record(1305, "audit(1.0:9): op=set audit_enabled=1"), AuditRecord::Other);
        assert_eq!(record(LANDLOCK_ACCESS, "audit(1.0:9): domain=zz blockers=fs"), AuditRecord::Other);
        assert_eq!(record(LANDLOCK_ACCESS, "audit(1.0:9):"), AuditRecord::Other);
        assert_eq!(parse(LANDLOCK_ACCESS, b"domain=5 blockers=fs.read_file"), None);
        let far = parse(1305, b"audit(1790000000.123:9):").expect("an audit record").0;
        assert_eq!(far.wall_ms, 1_790_000_000_123);
        assert_eq!(parse(1305, b"audit(99999999999999999999.0:9): "), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(kind in 1300_u16..1430, text in "\\PC{0,200}") {
            let _ = parse(kind, format!("audit(1.0:9): {text}").as_bytes());
            let _ = parse(kind, text.as_bytes());
        }

        #[test]
        fn a_quoted_name_comes_back_whole(name in "[ -!#-~]{1,80}") {
            let text = format!("audit(1.0:9): domain=5 blockers=fs.read_file path=\"{name}\" dev=\"vda\"");
            let AuditRecord::Refused(refusal) = record(LANDLOCK_ACCESS, &text) else { panic!("not a refusal") };
            assert_eq!(refusal.target, name);
        }
    }
}
