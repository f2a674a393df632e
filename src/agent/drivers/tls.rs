//! TLS towards the middleware: its certificate has to come from the instance's authority; the name in it does not
//! matter, since drivers connect to the pod itself and to pods by whatever name steps give them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::DriverError;

/// The instance's certificates.
#[derive(Clone, Debug)]
pub struct Tls {
    pub dir: PathBuf,
    /// Whether the middleware wants to see a certificate of ours.
    pub client_certificate: bool,
}

impl Tls {
    /// Read anew for each connection, so that renewed certificates are used at once.
    pub fn config(&self) -> Result<ClientConfig, DriverError> {
        let ca = self.dir.join("ca.crt");
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&ca)? {
            roots.add(certificate).map_err(|error| DriverError::new(format!("{}: {error}", ca.display())))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| DriverError::new(format!("{}: {error}", ca.display())))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| DriverError::new(format!("cannot use TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName { inner, provider }));
        if !self.client_certificate {
            return Ok(builder.with_no_client_auth());
        }
        let (certificate, key) = (self.dir.join("tls.crt"), self.dir.join("tls.key"));
        let private = PrivateKeyDer::from_pem_file(&key)
            .map_err(|error| DriverError::new(format!("cannot read {}: {error}", key.display())))?;
        builder
            .with_client_auth_cert(certificates(&certificate)?, private)
            .map_err(|error| DriverError::new(format!("cannot use {}: {error}", certificate.display())))
    }

    pub fn connector(&self) -> Result<TlsConnector, DriverError> {
        Ok(TlsConnector::from(Arc::new(self.config()?)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DriverError> {
    let wrong = |error: &dyn std::fmt::Display| DriverError::new(format!("cannot read {}: {error}", path.display()));
    let list = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let list: Vec<_> = list.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if list.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(list) }
}

/// A name for the handshake; one that is no host name is as good as any other.
pub fn server_name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
}

/// Checks everything but the name.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // the name is looked at last, when all else was found in order
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
