//! The own certificate, and those of servers that are trusted.
//!
//! They lie in one folder, as other OPC UA programs have it:
//!
//! ```text
//! own/cert.der          the own certificate, made at first use; servers are made to trust it
//! private/private.pem   its key, which only this user may read
//! trusted/*.der         certificates of servers that are trusted
//! rejected/*.der        certificates that servers have shown and that nobody has trusted yet
//! ```
//!
//! A server is trusted by its very certificate, which somebody has compared by its thumbprint: not by the name in it, nor
//! by who has signed it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use opcua::{
    crypto::{CertificateStore, X509, X509Data},
    types::{ApplicationDescription, DateTime},
};

use crate::secret::read_file;

/// The name of the program at servers: the URI in its certificate.
pub(super) const APPLICATION_URI: &str = "urn:sightglass";
/// Files that are looked at in one folder of certificates.
pub const CERTIFICATES_MAX: usize = 1000;
/// The longest certificate, in bytes.
const CERTIFICATE_BYTES_MAX: u64 = 64 << 10;
pub(super) const NAME: &str = "Sightglass";
const KEY_BITS: u32 = 2048;
/// How long the own certificate is good: servers would have to be made to trust each new one.
const OWN_DAYS: u32 = 3650;
const OWN: &str = "own/cert.der";
const PRIVATE: &str = "private/private.pem";
const TRUSTED: &str = "trusted";
const REJECTED: &str = "rejected";

/// A certificate that a server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// SHA-1 of its bytes, in hexadecimal digits (OPC UA part 6, 6.7.2.3).
    pub thumbprint: String,
    /// The common name in it, as the server says.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

impl fmt::Display for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' with the thumbprint {}", self.name, self.thumbprint)
    }
}

/// The certificates that servers have shown and that nobody has trusted yet, in the folder `pki`.
///
/// # Errors
/// The folder cannot be read.
pub fn untrusted(pki: &Path) -> Result<Vec<ServerCertificate>, String> {
    Ok(all_in(&pki.join(REJECTED))?.into_iter().map(|(certificate, _)| certificate).collect())
}

/// Trusts, from now on, the certificate that a server has shown before and whose thumbprint this is; blanks, colons and
/// case do not count.
///
/// # Errors
/// No server has shown it, or the folder cannot be written.
pub fn trust(pki: &Path, thumbprint: &str) -> Result<ServerCertificate, String> {
    let wanted: String =
        thumbprint.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect();
    let shown = all_in(&pki.join(REJECTED))?;
    let Some((mut certificate, _)) = shown.into_iter().find(|(certificate, _)| certificate.thumbprint == wanted) else {
        return Err(format!(
            "no server has shown a certificate with the thumbprint {wanted}; connect to it once, then see {}",
            pki.join(REJECTED).display()
        ));
    };
    let folder = pki.join(TRUSTED);
    let to = folder.join(certificate.path.file_name().unwrap_or_default());
    let moved = fs::create_dir_all(&folder).and_then(|()| fs::rename(&certificate.path, &to));
    moved.map_err(|error| format!("cannot write {}: {error}; check that this user may write there", to.display()))?;
    certificate.path = to;
    Ok(certificate)
}

/// Says that a server is not trusted, and what to do.
///
/// # Errors
/// It is not trusted, or its certificate is none, or is out of date.
pub(super) fn check(pki: &Path, bytes: &[u8]) -> Result<(), String> {
    let certificate = X509::from_der(bytes)
        .map_err(|_| "the server shows a certificate that is none; let it make a new one".to_owned())?;
    let shown = described(&certificate, PathBuf::new());
    if all_in(&pki.join(TRUSTED))?.iter().all(|(_, trusted)| trusted != bytes) {
        let why = match keep(pki, &certificate, bytes) {
            Ok(()) => String::new(),
            Err(why) => format!(" ({why})"),
        };
        return Err(format!(
            "the server's certificate {shown} is not trusted; compare the thumbprint with the one that the server itself \
             shows, and where it is the same, trust it once with `sightglass trust`{why}"
        ));
    }
    certificate.is_time_valid(&DateTime::now().as_chrono()).map_err(|_| {
        format!("the server's certificate {shown} is out of date, or a clock is wrong; renew it on the server")
    })
}

/// Keeps a certificate that is not trusted, so that it can be.
fn keep(pki: &Path, certificate: &X509, bytes: &[u8]) -> Result<(), String> {
    let folder = pki.join(REJECTED);
    if all_in(&folder)?.iter().any(|(_, kept)| kept == bytes) {
        return Ok(());
    }
    // The library looks for it under this very name, in the folder of the trusted.
    let path = folder.join(CertificateStore::cert_file_name(certificate).replace(std::path::is_separator, ""));
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, bytes));
    kept.map_err(|error| format!("it cannot be kept as {}: {error}", path.display()))
}

/// The certificates in a folder, which may be absent.
fn all_in(folder: &Path) -> Result<Vec<(ServerCertificate, Vec<u8>)>, String> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "der"));
    let mut all = Vec::new();
    for path in paths {
        if all.len() >= CERTIFICATES_MAX {
            return Err(format!(
                "{} holds more than {CERTIFICATES_MAX} certificates; delete those that nobody needs",
                folder.display()
            ));
        }
        let bytes = read_file(&path, CERTIFICATE_BYTES_MAX)?;
        // What somebody else put there and is no certificate is nobody's.
        if let Ok(certificate) = X509::from_der(&bytes) {
            all.push((described(&certificate, path), bytes));
        }
    }
    all.sort_by(|(one, _), (other, _)| one.thumbprint.cmp(&other.thumbprint));
    Ok(all)
}

fn described(certificate: &X509, path: PathBuf) -> ServerCertificate {
    let name = certificate.common_name().unwrap_or_default();
    // It comes from outside, and is shown.
    let name = name.strip_prefix("CN=").unwrap_or(&name).chars().filter(|c| !c.is_control()).take(80).collect();
    ServerCertificate { thumbprint: certificate.thumbprint().as_hex_string(), name, path }
}

/// A store of the library that holds the own certificate, which is made where there is none yet. Takes a second then.
///
/// # Errors
/// Its files cannot be read or written, or do not go together.
pub(super) fn own(pki: &Path) -> Result<CertificateStore, String> {
    // Two sources that begin at once would each make their own.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (certificate, key) = (pki.join(OWN), pki.join(PRIVATE));
    match (certificate.exists(), key.exists()) {
        (true, true) => {}
        (false, false) => make(&certificate, &key)?,
        (there, _) => {
            let (there, absent) = if there { (&certificate, &key) } else { (&key, &certificate) };
            return Err(format!(
                "{} is there and {} is not; put it there, or delete both for new ones",
                there.display(),
                absent.display()
            ));
        }
    }
    let mut store = CertificateStore::new(pki);
    // The library wants to see the folders.
    store.ensure_pki_path()?;
    let read = store.read_own_cert()?;
    store.read_own_pkey()?;
    read.is_application_uri_valid(APPLICATION_URI).map_err(|_| {
        format!(
            "{} is of another program; the first alternative name in it must be the URI {APPLICATION_URI}",
            certificate.display()
        )
    })?;
    read.is_time_valid(&DateTime::now().as_chrono()).map_err(|_| {
        format!(
            "the own certificate {} is out of date, or this PC's clock is wrong; delete {} and {} for new ones",
            certificate.display(),
            certificate.display(),
            key.display()
        )
    })?;
    // What makes a server trusted is looked at here, in `check`.
    store.set_skip_verify_certs(true);
    store.set_trust_unknown_certs(true);
    Ok(store)
}

fn make(certificate: &Path, key: &Path) -> Result<(), String> {
    let wrong = |path: &Path, error: &dyn fmt::Display| {
        format!("cannot write {}: {error}; check that this user may write there", path.display())
    };
    for folder in [certificate, key].into_iter().filter_map(Path::parent) {
        fs::create_dir_all(folder).map_err(|error| wrong(folder, &error))?;
    }
    let program = ApplicationDescription { application_uri: APPLICATION_URI.into(), ..Default::default() };
    // Its first alternative name is the URI, and this PC's name another.
    let mut data = X509Data::from(program);
    data.key_size = KEY_BITS;
    data.common_name = NAME.to_owned();
    data.organization = NAME.to_owned();
    data.organizational_unit = "OPC UA client".to_owned();
    data.country = String::new();
    data.state = String::new();
    data.certificate_duration_days = OWN_DAYS;
    // Under other names at first, so that what is there under the right ones is whole.
    let (new_certificate, new_key) = (certificate.with_extension("new"), key.with_extension("new"));
    create_for_owner(&new_key).map_err(|error| wrong(&new_key, &error))?;
    CertificateStore::create_certificate_and_key(&data, true, &new_certificate, &new_key)
        .map_err(|error| format!("cannot make a certificate: {error}"))?;
    for (from, to) in [(&new_key, key), (&new_certificate, certificate)] {
        fs::rename(from, to).map_err(|error| wrong(to, &error))?;
    }
    Ok(())
}

/// An empty file that only this user may read.
fn create_for_owner(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder");
        let pki = dir.path().join("pki");
        own(&pki).unwrap_or_else(|error| panic!("{error}"));
        let first = fs::read(pki.join(OWN)).expect("a certificate");
        own(&pki).expect("the same");
        assert_eq!(fs::read(pki.join(OWN)).expect("a certificate"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(pki.join(PRIVATE)).expect("a key").permissions().mode() & 0o777, 0o600);
        }
        fs::remove_file(pki.join(PRIVATE)).expect("a key");
        assert!(own(&pki).is_err_and(|why| why.contains("private.pem is not; put it there")));
        fs::write(pki.join(PRIVATE), "no key").expect("a file");
        assert!(own(&pki).is_err());
    }

    #[test]
    fn a_server_is_trusted_by_its_certificate_and_an_explicit_word() {
        let dir = tempfile::tempdir().expect("a folder");
        own(&dir.path().join("server")).expect("a certificate of somebody");
        let bytes = fs::read(dir.path().join("server").join(OWN)).expect("a certificate");
        let pki = dir.path().join("pki");
        assert!(check(&pki, b"nonsense").is_err_and(|why| why.contains("is none")));
        assert!(check(&pki, &bytes).is_err_and(|why| why.contains("is not trusted; compare the thumbprint")));
        assert!(check(&pki, &bytes).is_err(), "seeing it again does not make it trusted");
        let shown = untrusted(&pki).expect("a folder");
        assert_eq!((shown.len(), shown[0].name.as_str()), (1, "Sightglass"));
        assert!(trust(&pki, "00:11").is_err_and(|why| why.contains("no server has shown")));
        let pairs: Vec<String> =
            shown[0].thumbprint.as_bytes().chunks(2).map(|c| String::from_utf8_lossy(c).to_uppercase()).collect();
        trust(&pki, &pairs.join(":")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(check(&pki, &bytes), Ok(()));
        assert_eq!(untrusted(&pki), Ok(Vec::new()));
        fs::write(pki.join(TRUSTED).join("junk.der"), "junk").expect("a file");
        assert_eq!(check(&pki, &bytes), Ok(()));
    }

    #[test]
    fn a_full_store_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        own(&dir.path().join("server")).expect("a certificate of somebody");
        let bytes = fs::read(dir.path().join("server").join(OWN)).expect("a certificate");
        let rejected = dir.path().join(REJECTED);
        fs::create_dir(&rejected).expect("a folder");
        (0..=CERTIFICATES_MAX).for_each(|at| fs::write(rejected.join(format!("{at}.der")), &bytes).expect("a file"));
        assert!(untrusted(dir.path()).is_err_and(|why| why.contains("delete those that nobody needs")));
        assert!(
            check(dir.path(), &bytes).is_err_and(|why| why.contains("is not trusted") && why.contains("delete those"))
        );
    }
}
