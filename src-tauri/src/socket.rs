//! The name of an engine's local socket.

use std::io;
use std::path::Path;

use interprocess::local_socket::{GenericFilePath, Name, ToFsName};

/// Where the engine of the data folder `data` listens, as people read it: a socket file in the folder, on Windows a
/// named pipe whose name is made from the folder's path (pipes have no place in the file system).
pub(crate) fn address(data: &Path) -> String {
    if cfg!(windows) {
        format!(r"\\.\pipe\sightglass-{:016x}", fnv1a(data.to_string_lossy().to_lowercase().as_bytes()))
    } else {
        data.join(sightglass_protocol::message::SOCKET_NAME).display().to_string()
    }
}

/// The same as a name to connect to.
///
/// # Errors
/// When the path is too long for a socket (about 100 bytes on Unix).
pub(crate) fn name(data: &Path) -> io::Result<Name<'static>> {
    if cfg!(windows) {
        address(data).to_fs_name::<GenericFilePath>()
    } else {
        data.join(sightglass_protocol::message::SOCKET_NAME).to_fs_name::<GenericFilePath>()
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
