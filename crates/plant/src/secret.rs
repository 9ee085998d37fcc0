//! Where a secret is: a plant file never holds one, and no error shows what somebody wrote there by mistake.

use std::{fmt, path::PathBuf};

/// Where a password is. It is read anew each time that it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `keyring:NAME`: what the operating system's key store keeps for Sightglass under that name.
    KeyStore(String),
    /// `env:NAME`: the environment variable of that name.
    Environment(String),
    /// `file:PATH`: the first line of a file, without the end of the line (the parser has joined the plant file's folder).
    File(PathBuf),
}

impl SecretRef {
    /// The forms in which it is written, for messages.
    pub const FORMS: &str = "keyring:NAME, env:NAME or file:PATH";

    /// Reads one of [`Self::FORMS`]; `None` where the text is none of them. It may be the secret itself then, and is not to
    /// be shown.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().split_once(':')? {
            ("keyring", name) if !name.is_empty() => Some(Self::KeyStore(name.to_owned())),
            ("env", name) if !name.is_empty() => Some(Self::Environment(name.to_owned())),
            ("file", path) if !path.is_empty() => Some(Self::File(path.into())),
            _ => None,
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyStore(name) => write!(f, "keyring:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// Keys whose text may be a secret that somebody wrote in the wrong place.
const SECRET_KEYS: [&str; 2] = ["password", "passphrase"];

/// `text` as errors show it: what stands where a secret could be is replaced by as many asterisks as it has bytes, so
/// that places stay where they are.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
        let from = secret_start(content).unwrap_or(content.len());
        hidden.push_str(&without_user(&content[..from]));
        hidden.extend(std::iter::repeat_n('*', content.len() - from));
        hidden.push_str(end);
    }
    hidden
}

/// Where a secret begins in a line `password = …`; `None` where the line has none, or rightly says where it is.
fn secret_start(line: &str) -> Option<usize> {
    let (at, key) = SECRET_KEYS.iter().filter_map(|key| Some((line.find(key)?, key))).min()?;
    let after_key = at + key.len();
    let equals = after_key + line[after_key..].find('=')? + 1;
    let value = line[equals..].trim_start().trim_start_matches(['"', '\'']);
    SecretRef::parse(value).is_none().then_some(equals)
}

/// A line in which what stands between `://` and `@` is hidden.
fn without_user(line: &str) -> String {
    let mut hidden = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(scheme) = rest.find("://") {
        let start = scheme + "://".len();
        hidden.push_str(&rest[..start]);
        rest = &rest[start..];
        let authority = rest.find(['/', '"', '\'', ' ']).unwrap_or(rest.len());
        if let Some(at) = rest[..authority].rfind('@') {
            hidden.extend(std::iter::repeat_n('*', at));
            rest = &rest[at..];
        }
    }
    hidden.push_str(rest);
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_hidden_and_places_stay() {
        let text = "user = \"x\"\npassword = \"gehe🦀im\"\nuri = \"rtsp://me:pw@cam/1\" # a@b\n\
                    password = \"env:BROKER\"\nno = \"mqtt://host:1\"\n\"password\"='a\"b'\npassword = \"keyring:b\"";
        let hidden = without_secrets(text);
        assert_eq!(hidden.len(), text.len());
        let expected = "user = \"x\"\npassword =*************\nuri = \"rtsp://*****@cam/1\" # a@b\n\
                        password = \"env:BROKER\"\nno = \"mqtt://host:1\"\n\"password\"=*****\npassword = \"keyring:b\"";
        assert_eq!(hidden, expected);
    }
}
