//! How a bucket is reached: address, region, credentials, certificates, checksums.

use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder as ConfigBuilder, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use std::time::Duration;

use crate::secret::Secret;

const DEFAULT_REGION: &str = "us-east-1";
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub bucket: String,
    /// Folder in the bucket.
    pub prefix: String,
    pub region: Option<String>,
    /// AWS's own where there is none.
    pub endpoint: Option<String>,
    pub path_style: bool,
    pub credentials: Credentials,
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<String>,
    pub checksums: Checksums,
    /// Whether what a restore needs is locked against deletion.
    pub lock: Option<Lock>,
}

/// How objects are locked, from when they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub mode: LockMode,
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has a right of its own for it may delete all the same.
    Governance,
    /// Nobody may.
    Compliance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    Keys {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
    /// The identity of the pod's ServiceAccount: `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE`, which the cluster sets.
    WebIdentity,
}

/// Some stores break on the checksums that newer clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksums {
    #[default]
    WhenSupported,
    WhenRequired,
}

impl Settings {
    pub(super) fn config(&self) -> Result<ConfigBuilder, String> {
        let http = self.http()?;
        let region = Region::new(self.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()));
        let (send, check) = match self.checksums {
            Checksums::WhenSupported => {
                (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
            }
            Checksums::WhenRequired => {
                (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
            }
        };
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .http_client(http.clone())
            .force_path_style(self.path_style)
            .request_checksum_calculation(send)
            .response_checksum_validation(check)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build());
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config = match &self.credentials {
            Credentials::Keys { access_key_id, secret_access_key, session_token } => {
                config.credentials_provider(aws_sdk_s3::config::Credentials::new(
                    access_key_id,
                    secret_access_key.expose(),
                    session_token.as_ref().map(|token| token.expose().to_owned()),
                    None,
                    "a Secret",
                ))
            }
            Credentials::WebIdentity => {
                let with = ProviderConfig::without_region().with_region(Some(region)).with_http_client(http);
                config.credentials_provider(WebIdentityTokenCredentialsProvider::builder().configure(&with).build())
            }
        };
        Ok(config)
    }

    fn http(&self) -> Result<SharedHttpClient, String> {
        let trust = match &self.ca {
            // what is no certificate would be found out only by the first request, as a panic
            Some(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => {
                return Err("ca.crt holds no certificate; it is to begin with -----BEGIN CERTIFICATE-----".into());
            }
            Some(pem) => TrustStore::empty().with_pem_certificate(pem.as_bytes()),
            None => TrustStore::default(),
        };
        let tls = TlsContext::builder().with_trust_store(trust).build();
        let tls = tls.map_err(|error| format!("ca.crt cannot be used: {error}"))?;
        Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls).build_https())
    }
}
