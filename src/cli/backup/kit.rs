//! `midship backup kit`: the page to print and keep apart.

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;

use super::super::Outcome;
use super::super::connection::Connection;
use super::super::error::CommandError;
use super::list::tell_problems;
use super::source;
use crate::backup::keys::{KeyCheck, Kit, KitError};
use crate::backup::layout::Uid;
use crate::controller::repositories::place::Place;

const PUT_BACK: &str = "put the slots back from a copy or an older version of the store, or give the kit that was printed before \
                        with --kit: what it has is kept";

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: source::SourceArguments,
}

pub async fn run(arguments: &Arguments, connection: &Connection) -> Result<Outcome, CommandError> {
    let source = arguments.source.open(connection).await?;
    let catalog = source.catalog().await?;
    tell_problems(&catalog);
    let named: BTreeSet<Uid> = catalog.found.iter().filter_map(|found| found.manifest.epoch.clone()).collect();
    let made = Kit::complete(&source.repository, &named, source.kit.as_ref()).await;
    let (kit, lacks) = made.map_err(|error| {
        let told = CommandError::new(error.to_string()).at(source.address());
        match error {
            KitError::Worthless(_) => told.remedy(PUT_BACK),
            _ => told,
        }
    })?;
    let mut keys = KeyCheck::with(Some(&kit), None);
    for epoch in &named {
        match keys.problems(&source.repository, Some(epoch)).await {
            Ok(problems) => {
                for problem in problems {
                    eprintln!("a backup is damaged: {problem}");
                }
            }
            Err(error) => eprintln!("the keys of the epoch {epoch} could not be looked at: {error}"),
        }
    }
    println!("{}", kit.page(Timestamp::now(), &reached(&source.place)).trim_end());
    if lacks.is_empty() {
        return Ok(Outcome::Done);
    }
    let lacks = format!("this recovery kit does not open everything: {}", lacks.join("; "));
    Err(CommandError::new(lacks).at(source.address()).remedy(PUT_BACK))
}

/// The options that reach a store, where its address is not enough.
fn reached(place: &Place) -> String {
    let Place::S3(settings) = place else { return String::new() };
    let said =
        |flag: &str, value: Option<&String>| value.map_or_else(String::new, |value| format!(" --{flag} {value}"));
    let host = if settings.endpoint.is_some() && !settings.path_style { " --virtual-host" } else { "" };
    let ca = if settings.ca.is_some() { " --ca CERTIFICATES-FILE" } else { "" };
    format!("{}{}{host}{ca}", said("endpoint", settings.endpoint.as_ref()), said("region", settings.region.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::keys::SigningKey;
    use crate::backup::store::s3::{Checksums, Credentials, Settings};

    fn bucket() -> Settings {
        Settings {
            bucket: "shop".into(),
            prefix: "backups".into(),
            region: None,
            endpoint: None,
            path_style: false,
            credentials: Credentials::WebIdentity,
            ca: None,
            checksums: Checksums::WhenSupported,
            lock: None,
        }
    }

    /// The commands on the page.
    fn commands(store: &str, place: &Place) -> Vec<String> {
        let repository = Uid::parse("one").expect("an identity");
        let signer = SigningKey::generate().public();
        let kit = Kit { store: store.into(), repository, signer, slots: Vec::new() };
        let page = kit.page(Timestamp::UNIX_EPOCH, &reached(place));
        assert_eq!(Kit::parse(&page), Ok(kit));
        page.lines().filter_map(|line| line.strip_prefix("#   midship ")).map(str::to_owned).collect()
    }

    #[test]
    fn the_commands_on_the_page_run_as_they_are_printed() {
        let aws = Place::S3(Box::new(bucket()));
        let with = "--kit THIS-FILE --identity PRIVATE-KEY-FILE";
        assert_eq!(
            commands("s3://shop/backups", &aws),
            [
                format!("backup list --from s3://shop/backups {with}"),
                format!("restore NAME --from s3://shop/backups --backup ID {with}"),
            ]
        );
        let (endpoint, region) = (Some("https://s3.shop:9000".to_owned()), Some("here".to_owned()));
        let other = Settings { endpoint, region, ca: Some("pem".into()), ..bucket() };
        let other = Place::S3(Box::new(other));
        let there = "--endpoint https://s3.shop:9000 --region here --virtual-host --ca CERTIFICATES-FILE";
        assert_eq!(
            commands("s3://shop/backups", &other)[0],
            format!("backup list --from s3://shop/backups {there} {with}")
        );
        let folder = Place::Folder("/backups".into());
        assert_eq!(
            commands("file:///backups", &folder)[1],
            format!("restore NAME --repository REPOSITORY --from file:///backups --backup ID {with}")
        );
        for (store, place) in [("s3://shop/backups", aws), ("s3://shop/backups", other), ("file:///backups", folder)] {
            for command in commands(store, &place) {
                // names of objects are in small letters
                let command = command.replace("NAME", "orders").replace("REPOSITORY", "vault");
                let words = std::iter::once("midship").chain(command.split(' '));
                let parsed = crate::cli::command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{command}: {parsed:?}");
            }
        }
    }
}
