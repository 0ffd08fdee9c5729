//! Certificates from PEM texts: ours, and those by which others are checked. Opens no socket, and no file
//! but the system's own roots.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::file::fingerprint;

/// Why certificates cannot be used. It is always the operator who can mend it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadTls {
    /// No certificate in the text.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// No key in the text.
    #[error("holds no private key in PEM form")]
    NoKey,
    /// A key that only who knows its passphrase can read.
    #[error("is encrypted, and nobody is there at a start to type its passphrase: `openssl pkey` writes it without")]
    EncryptedKey,
    /// Key and certificate do not fit, or are of a kind that is not known.
    #[error("cannot be used with its certificate: {0}")]
    Pair(String),
    /// The system has no certificates that it trusts.
    #[error("the system's trusted certificates cannot be read: {0}")]
    System(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What we show on a listener: a certificate chain and its key.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    made_from: u64,
}

impl Identity {
    /// From two PEM texts.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, BadTls> {
        let chain = certificates(certificate)?;
        let made_from = fingerprint(&[certificate, key]);
        let key = private_key(key)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| BadTls::Pair(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| BadTls::Pair(error.to_string()))?;
        Ok(Self { config: Arc::new(config), made_from })
    }

    /// For a listener.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.made_from == other.made_from
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// What we show to a next hop that asks who we are.
#[derive(Clone)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    made_from: u64,
}

impl ClientIdentity {
    /// From two PEM texts.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, BadTls> {
        let chain = certificates(certificate)?;
        let made_from = fingerprint(&[certificate, key]);
        let key = private_key(key)?;
        let identity = Self { chain, key: Arc::new(key), made_from };
        // Whether they fit is found out now, not when a call waits.
        client(RootCertStore::empty(), Some(&identity))?;
        Ok(identity)
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.made_from == other.made_from
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

fn client(roots: RootCertStore, identity: Option<&ClientIdentity>) -> Result<Arc<ClientConfig>, BadTls> {
    let pair = |error: rustls::Error| BadTls::Pair(error.to_string());
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(pair)?;
    let builder = builder.with_root_certificates(roots);
    Ok(Arc::new(match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).map_err(pair)?
        }
        None => builder.with_no_client_auth(),
    }))
}

/// Whom we believe about certificates.
#[derive(Clone)]
pub struct Roots {
    store: RootCertStore,
    made_from: u64,
}

impl Roots {
    /// The certificates of a PEM text, and no others.
    ///
    /// # Errors
    /// The text holds none.
    pub fn from_pem(text: &str) -> Result<Self, BadTls> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(text)? {
            store.add(certificate).map_err(|_| BadTls::NoCertificate)?;
        }
        Ok(Self { store, made_from: fingerprint(&[text]) })
    }

    /// The certificates that the system trusts.
    ///
    /// # Errors
    /// The system has none.
    pub fn of_system() -> Result<Self, BadTls> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(BadTls::System(why));
        }
        Ok(Self { store, made_from: 0 })
    }

    /// For connections that we open; `identity`: what a peer is shown that asks who we are.
    ///
    /// # Errors
    /// It cannot be shown.
    pub fn config(&self, identity: Option<&ClientIdentity>) -> Result<Arc<ClientConfig>, BadTls> {
        client(self.store.clone(), identity)
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.made_from == other.made_from
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots")
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, BadTls> {
    // PKCS #8, and what OpenSSL wrote before.
    let encrypted = |line: &str| {
        line.starts_with("-----BEGIN ENCRYPTED ") || line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")
    };
    if text.lines().any(encrypted) {
        return Err(BadTls::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| BadTls::NoKey)
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    read.ok().filter(|certificates| !certificates.is_empty()).ok_or(BadTls::NoCertificate)
}
