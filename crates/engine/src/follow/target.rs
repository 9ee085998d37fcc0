//! Where days go: a folder, or a bucket of an S3-compatible store.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::EngineError;

const SCHEME: &str = "s3://";
/// The variables that name the store's address, in the order in which they count.
const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A target. Names in it have `/` between their parts; an object is there whole or not at all.
#[derive(Debug)]
pub(crate) enum Target {
    Folder(PathBuf),
    Bucket { store: Box<AmazonS3>, prefix: String, shown: String },
}

impl FromStr for Target {
    type Err = String;

    /// A folder, or `s3://BUCKET/PREFIX` with address and credentials from the variables that AWS's own tools use.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(SCHEME) else { return Ok(Self::Folder(text.into())) };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!("'{text}' names no bucket; write s3://BUCKET/PREFIX"));
        }
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let endpoint = ENDPOINT_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        if let Some(endpoint) = endpoint {
            // Without encryption only to this very PC, unless AWS_ALLOW_HTTP says otherwise.
            if is_loopback(&endpoint) {
                builder = builder.with_allow_http(true);
            }
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| {
            format!(
                "{text} cannot be used: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and for a store of \
                 your own AWS_ENDPOINT_URL"
            )
        })?;
        Ok(Self::Bucket { store: Box::new(store), prefix: prefix.trim_matches('/').to_owned(), shown: text.to_owned() })
    }
}

/// Whether an address is on this PC.
fn is_loopback(endpoint: &str) -> bool {
    let after = endpoint.split_once("://").map_or(endpoint, |(_, after)| after);
    let authority = after.split('/').next().unwrap_or(after);
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Target {
    /// What is stored under `name`.
    pub(super) async fn get(&self, name: &str) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                fs::read(&path).map_err(EngineError::io("reading", &path))
            }
            Self::Bucket { store, .. } => {
                let got = store.get(&self.key(name)?).await.map_err(self.failed("reading", name))?;
                Ok(got.bytes().await.map_err(self.failed("reading", name))?.to_vec())
            }
        }
    }

    /// Stores `content` under `name`, in place of what is there.
    pub(super) async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), EngineError> {
        match self {
            Self::Folder(folder) => put_file(&folder.join(name), &content),
            Self::Bucket { store, .. } => {
                let payload = PutPayload::from(content);
                store.put(&self.key(name)?, payload).await.map(|_| ()).map_err(self.failed("writing", name))
            }
        }
    }

    /// Deletes what is stored under `name`; nothing when nothing is.
    pub(super) async fn delete(&self, name: &str) -> Result<(), EngineError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(EngineError::io("removing", &path)(error))
                    }
                    _ => Ok(()),
                }
            }
            Self::Bucket { store, .. } => match store.delete(&self.key(name)?).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other.map_err(self.failed("removing", name)),
            },
        }
    }

    /// The names of everything below `folder`, sorted.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, EngineError> {
        let mut names = match self {
            Self::Folder(root) => list_files(root, folder)?,
            Self::Bucket { store, prefix, .. } => {
                let key = self.key(folder)?;
                let found: Vec<_> =
                    store.list(Some(&key)).try_collect().await.map_err(self.failed("listing", folder))?;
                let own = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                found.iter().filter_map(|meta| meta.location.as_ref().strip_prefix(&own).map(str::to_owned)).collect()
            }
        };
        names.sort();
        Ok(names)
    }

    /// A name as the store has it. Partitions are percent-encoded already, which must not be done twice.
    fn key(&self, name: &str) -> Result<object_store::path::Path, EngineError> {
        let Self::Bucket { prefix, .. } = self else {
            return Err(EngineError::Usage("a folder has no keys".to_owned()));
        };
        let whole = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        object_store::path::Path::parse(&whole)
            .map_err(|error| EngineError::Usage(format!("'{whole}' cannot be an object's name: {error}")))
    }

    fn failed(&self, doing: &'static str, name: &str) -> impl FnOnce(object_store::Error) -> EngineError {
        let path = PathBuf::from(format!("{self}/{name}"));
        move |error| EngineError::io(doing, path)(std::io::Error::other(error))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket { shown, .. } => write!(f, "{}", shown.trim_end_matches('/')),
        }
    }
}

/// Writes beside the file first, so that it is there whole or not at all, also after a power cut.
fn put_file(path: &Path, content: &[u8]) -> Result<(), EngineError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(EngineError::io("making the folder", folder))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // Best effort: what matters is the first error.
        let _removed = fs::remove_file(&partial);
        return Err(EngineError::io("writing", path)(error));
    }
    fs::rename(&partial, path).map_err(EngineError::io("naming", path))?;
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(EngineError::io("writing", folder))?;
    }
    Ok(())
}

fn list_files(root: &Path, folder: &str) -> Result<Vec<String>, EngineError> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let path = root.join(&next);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(EngineError::io("listing", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(EngineError::io("listing", &path))?;
            let name = format!("{next}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(name);
            } else {
                names.push(name);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_pc_is_spoken_to_without_encryption() {
        for here in ["http://127.0.0.1:9000", "http://localhost:9000/", "http://[::1]:9000", "127.0.0.1"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in
            ["http://minio.plant:9000", "http://10.0.0.9", "http://localhost.evil.example", "http://[fe80::1]:9"]
        {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_bucket_without_a_name_is_refused() {
        assert!("s3:///x".parse::<Target>().unwrap_err().contains("names no bucket"));
        assert!(matches!("out".parse::<Target>(), Ok(Target::Folder(_))));
    }
}
