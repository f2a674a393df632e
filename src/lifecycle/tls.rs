//! TLS between controllers and agents: version 1.3, each side with a certificate that the other checks.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pki::{KeyPem, PkiError, certificates};

/// What one side needs, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: String,
    pub key: KeyPem,
    /// Whom it trusts.
    pub trusted: String,
}

/// Why somebody's certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the private key cannot be used: {0}")]
    Key(rustls::pki_types::pem::Error),
    #[error("none of the trusted certificates can be used: {0}")]
    Trusted(rustls::server::VerifierBuilderError),
    #[error("certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl Identity {
    /// For whoever listens. Who comes without a certificate is sent away. No session is resumed: everybody proves anew who
    /// they are, so that a renewed authority counts at once.
    pub fn server(&self) -> Result<ServerConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
            .build()
            .map_err(IdentityError::Trusted)?;
        let (chain, key) = self.own()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For whoever calls, over HTTP/2.
    pub fn client(&self) -> Result<ClientConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = self.own()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca.crt", &self.trusted)? {
            roots.add(certificate.der().clone())?;
        }
        Ok(roots)
    }

    fn own(&self) -> Result<(Vec<rustls::pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
        let chain = certificates("tls.crt", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes()).map_err(IdentityError::Key)?;
        Ok((chain.into_iter().map(|certificate| certificate.der().clone()).collect(), key))
    }
}
