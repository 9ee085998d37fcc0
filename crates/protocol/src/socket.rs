//! Where the engine of a data folder listens for windows.

use std::path::{Path, PathBuf};

/// The name of the engine's socket within its data folder.
pub const SOCKET_NAME: &str = "engine.sock";

/// The address on which the engine of the data folder `data` listens: a socket file in the folder, on Windows a named
/// pipe whose name is made from the folder's absolute path (pipes have no place in the file system).
pub fn address(data: &Path) -> PathBuf {
    if cfg!(windows) {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        // Windows does not tell upper from lower case in paths.
        let path = data.to_string_lossy().to_lowercase();
        PathBuf::from(format!(r"\\.\pipe\sightglass-{:016x}", fnv1a(path.as_bytes())))
    } else {
        data.join(SOCKET_NAME)
    }
}

/// FNV-1a, 64 bit: the engine and the window must agree on it across versions, which `std`'s hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // Test vectors of the algorithm's authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
