//! What this process takes of the machine, as Linux accounts it.

/// The most memory that was ever resident, in bytes; `None` where the system does not tell.
pub(crate) fn peak_bytes() -> Option<u64> {
    field("VmHWM:")
}

fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
