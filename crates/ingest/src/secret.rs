//! Reading a secret from where it is. No error shows what was read.

use sightglass_plant::SecretRef;

use crate::key_store;

/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: u64 = 4096;

/// The secret, as it is now.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub fn read(reference: &SecretRef) -> Result<String, String> {
    let secret = match reference {
        SecretRef::KeyStore(name) => key_store::get(name)?,
        SecretRef::Environment(name) => std::env::var(name).map_err(|_| {
            format!("the environment variable {name} is not set, or is not text; set it and start anew")
        })?,
        SecretRef::File(path) => {
            let bytes = read_file(path, SECRET_BYTES_MAX)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text in UTF-8", path.display()))?;
            text.lines().next().unwrap_or("").to_owned()
        }
    };
    if secret.is_empty() {
        return Err(format!("{reference} holds nothing; put the secret there"));
    }
    Ok(secret)
}

/// The bytes of a file that is at most so long.
pub(crate) fn read_file(path: &std::path::Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let refuse = |error: std::io::Error| {
        format!("cannot read {}: {error}; check that it is there and that this user may read it", path.display())
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(refuse)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{} is longer than {bytes_max} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let reference = SecretRef::File(path.clone());
        assert!(read(&reference).is_err_and(|why| why.contains("password") && why.contains("cannot read")));
        std::fs::write(&path, "geheim 1\r\nnotes\n").unwrap();
        assert_eq!(read(&reference), Ok("geheim 1".to_owned()));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&reference).is_err_and(|why| why.contains("holds nothing")));
        std::fs::write(&path, [b'x'; 5000]).unwrap();
        assert!(read(&reference).is_err_and(|why| why.contains("longer") && !why.contains("xx")));
        let unset = SecretRef::Environment("SIGHTGLASS_NOT_SET".to_owned());
        assert!(read(&unset).is_err_and(|why| why.contains("SIGHTGLASS_NOT_SET is not set")));
        assert!(read(&SecretRef::Environment("PATH".to_owned())).is_ok());
    }
}
