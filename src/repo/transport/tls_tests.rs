//! A server that wants to know who we are: client certificates, and what is said without one.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::repo::fixture::bounds;
use crate::repo::{Access, ClientCertificate, Remote, RemoteError, RemoteUrl, Secret};

struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn certify(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), certificate.der().clone(), key)
    }

    fn client(&self) -> ClientCertificate {
        let (certificate, _, key) = self.certify("midship", ExtendedKeyUsagePurpose::ClientAuth);
        ClientCertificate { certificate, key: Secret::new(key.serialize_pem()) }
    }
}

/// Answers every request of a known client with "not found"; its address.
fn server(authority: &Authority) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let (_, certificate, key) = authority.certify("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut connection), Ok(mut tls)) = (stream, rustls::ServerConnection::new(Arc::clone(&config))) else {
                return;
            };
            let mut stream = rustls::Stream::new(&mut tls, &mut connection);
            let mut request = [0; 4096];
            // a client without a certificate is told so here
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            // closing with something unread would reset the connection and lose what was said
            let _ = connection.shutdown(Shutdown::Write);
            let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
            while connection.read(&mut request).is_ok_and(|count| count > 0) {}
        }
    });
    format!("https://localhost:{port}/a.git")
}

fn open(url: &str, access: Access) -> RemoteError {
    Remote::new(RemoteUrl::parse(url, false).unwrap(), access).open(&bounds()).unwrap_err()
}

#[test]
fn a_client_certificate_opens_the_door_and_nothing_else_does() {
    let authority = Authority::new();
    let url = server(&authority);
    let with = |client_certificate: Option<ClientCertificate>| {
        open(&url, Access { ca: Some(authority.pem.clone()), client_certificate, ..Access::default() })
    };
    assert_eq!(with(Some(authority.client())).code(), "repository-not-found", "the server spoke with us");
    assert_eq!(with(None).code(), "credentials-refused");
    assert_eq!(with(Some(Authority::new().client())).code(), "credentials-refused");
    let mut torn = authority.client();
    torn.key = Secret::new("no key");
    let error = with(Some(torn));
    assert_eq!(error.code(), "credentials-unfit");
    assert!(error.to_string().contains("tls.crt"), "{error}");
}

#[test]
fn a_ca_of_ones_own_is_the_only_one_that_counts() {
    let authority = Authority::new();
    let url = server(&authority);
    let client_certificate = Some(authority.client());
    let other = Access { ca: Some(Authority::new().pem), client_certificate, ..Access::default() };
    assert_eq!(open(&url, other).code(), "tls");
    let by_address = url.replace("localhost", "127.0.0.1");
    let wrong_name = Access { ca: Some(authority.pem), ..Access::default() };
    assert_eq!(open(&by_address, wrong_name).code(), "tls", "the name has to fit as well");
}
