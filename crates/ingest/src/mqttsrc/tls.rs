//! TLS towards a broker.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sightglass_plant::MqttTls;

use crate::secret::read_file;

/// The longest file of certificates or keys, in bytes.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// What a connection needs, read from its files as they are now.
///
/// # Errors
/// Which file cannot be used, and what to do. A key is never shown.
pub(super) fn configuration(tls: &MqttTls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            // Whatever of them cannot be read is as if it were not trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this PC trusts no certificates; name the broker's with ca = \"…\"".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let configuration = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}; it must be a key in PEM", key.display());
            let key = PrivateKeyDer::from_pem_slice(&read_file(key, PEM_BYTES_MAX)?).map_err(|error| wrong(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                format!("the certificate {} and its key do not go together: {error}", certificate.display())
            })?
        }
    };
    Ok(Arc::new(configuration))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_file(path, PEM_BYTES_MAX)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} holds no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: {error}; it must be certificates in PEM", path.display())),
    }
}
