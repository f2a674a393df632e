//! Logs on standard output, and traces where somebody collects them.

use std::str::FromStr;

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Why logs or traces cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log level {0:?} is not understood")]
    Level(String),
    #[error("traces cannot be sent to {endpoint}: {reason}")]
    Traces { endpoint: String, reason: String },
}

/// Keeps traces flowing; what is still here is sent when it is dropped.
#[derive(Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take()
            && let Err(error) = traces.shutdown()
        {
            eprintln!("the last traces could not be sent: {error}");
        }
    }
}

/// Starts logging, and tracing where an endpoint is given.
pub fn start(format: LogFormat, level: &str, otlp_endpoint: Option<&str>) -> Result<Telemetry, TelemetryError> {
    let filter = filter(level)?;
    let logs = match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => fmt::layer().compact().boxed(),
    };
    let traces = otlp_endpoint.map(exporter).transpose()?;
    let layer = traces.as_ref().map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer("midship")));
    tracing_subscriber::registry().with(filter).with(logs).with(layer).init();
    Ok(Telemetry { traces })
}

/// The filter, where every part of it is one. A word that is no level would be taken for a room, and everything else be
/// silent.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let refused = || TelemetryError::Level(level.to_owned());
    let parts: Vec<&str> = level.split(',').map(str::trim).collect();
    let is_level = |part: &str| LevelFilter::from_str(part).is_ok() && part.parse::<u8>().is_err() && !part.is_empty();
    if !parts.iter().all(|part| is_level(part.rsplit_once('=').map_or(*part, |(_, level)| level))) {
        return Err(refused());
    }
    EnvFilter::try_new(parts.join(",")).map_err(|_| refused())
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let refused = |reason: String| TelemetryError::Traces { endpoint: endpoint.to_owned(), reason };
    let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(address)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let resource = Resource::builder().with_service_name("midship").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused_and_never_taken_for_a_room() {
        for level in [
            "info",
            "WARN",
            "off",
            "midship=debug,kube=warn",
            "info, midship::repo=trace",
            "warn,midship[x{y=z}]=debug",
        ] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["inof", "", "info,", "midship", "midship=loud", "midship=", "info,midship: debug", "3"] {
            let told = filter(level).map(|_| ()).expect_err(level).to_string();
            assert_eq!(told, format!("the log level {level:?} is not understood"));
        }
    }
}
