//! How much memory programs can have without anything being written out or ended for it.

/// In KiB, by the kernel's estimate; what is unknown is nothing.
pub fn available_kib() -> u64 {
    read(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn read(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_and_unknown_is_nothing() {
        assert_eq!(read("MemTotal:  1 kB\nMemAvailable:     163840 kB\nBuffers: 2 kB\n"), 163_840);
        assert_eq!(read("MemTotal: 1 kB\n") + read("MemAvailable: many kB\n"), 0);
        assert!(available_kib() > 0, "this machine has some");
    }
}
