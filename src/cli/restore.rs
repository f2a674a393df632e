//! `midship restore`: a new instance from a backup, of this cluster or of any that only its store is left of; or the
//! backup in the place of what an instance has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Outcome;
use super::backup::source::{self, Source};
use super::connection::Connection;
use super::error::CommandError;
use super::operate::{Waiting, made, without_nothing};
use super::output::{self, Format, printable};
use super::session::Session;
use super::wait::{Look, seconds, watch};
use crate::api::conditions::{ConditionStatus, READY, find};
use crate::api::{API_VERSION, BackupRepository, Instance, labels};
use crate::backup::read::{Catalog, Found, SetError, Target};
use crate::backup::store::s3::Credentials;
use crate::controller::repositories::keys;
use crate::controller::repositories::place::Place;
use crate::controller::repositories::restores::KIT;
use crate::names::{InstanceName, ObjectName};

#[derive(Args)]
pub struct Arguments {
    /// The name of the new instance; with --replace-data-of, that of the one that is there.
    name: InstanceName,

    /// The backup: its identity, or the name of its object.
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["instance", "at"], required_unless_present = "instance")]
    backup: Option<String>,

    /// The newest backup of this instance: its UID, or its name where a private key is given.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,

    /// Go back to this moment, such as 2026-03-01T12:30:00Z; needs an archived log.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Put it in the place of what this instance has now: its name once more, as agreement that its present data is
    /// replaced. A backup of that is made first.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    replace_data_of: Option<InstanceName>,

    /// With --replace-data-of: do without the backup of the present data.
    #[arg(long, requires = "replace_data_of")]
    skip_safety_backup: bool,

    /// A Secret that is there, with the private key under `identity`; one is made of --identity where left out.
    #[arg(long, value_name = "NAME")]
    identity_secret: Option<ObjectName>,

    /// A file with the new Instance; as the old one was where left out.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,

    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "48h", value_parser = seconds)]
    timeout: u64,

    #[command(flatten)]
    source: source::SourceArguments,
}

pub async fn run(arguments: &Arguments, connection: &Connection, format: Format) -> Result<Outcome, CommandError> {
    let session = Session::open(connection).await?;
    let name = arguments.name.to_string();
    let there = session.ask(session.instances().get_opt(&name)).await?;
    agreed(arguments, &session, there.as_ref())?;
    let source = arguments.source.open(connection).await?;
    let catalog = source.catalog().await?;
    let found = chosen(arguments, &source, &catalog).await?;
    let there = there.filter(|_| arguments.replace_data_of.is_some());
    let spec = match there {
        Some(_) => None,
        None => Some(spec(arguments, &session, &source, found).await?),
    };
    if found.manifest.epoch.is_some() && source.identity.is_none() && arguments.identity_secret.is_none() {
        return Err(CommandError::new(format!("the backup {} is encrypted", found.place.id))
            .at(source.address())
            .remedy("give the private key with --identity FILE, or a Secret that holds it with --identity-secret"));
    }
    let repository = repository(arguments, &session, &source, found).await?;
    let identity = identity(arguments, &session, &source, found).await?;
    // who named no part wants all of them, and an instance with one group would get one
    let whole = arguments.backup.is_none() && found.set().is_some_and(|(_, size)| size > 1);
    let restore = without_nothing(json!({
        "repository": repository,
        "instance": { "uid": found.place.owner.instance },
        "id": (arguments.at.is_none() && !whole).then(|| found.place.id.to_string()),
        "pointInTime": arguments.at.map(|at| at.to_string()),
        "identity": identity.map(|name| json!({ "name": name })),
    }));
    let Some(mut spec) = spec else {
        let instance = session.instance(&name).await?;
        let wanted = json!({ "source": restore, "replaceDataOf": arguments.replace_data_of,
            "skipSafetyBackup": arguments.skip_safety_backup.then_some(true) });
        let spec = json!({ "type": "Restore", "restore": without_nothing(wanted) });
        let waiting = Waiting { no_wait: arguments.no_wait, timeout: arguments.timeout };
        return made(&session, &instance, "restore", spec, &waiting, format).await;
    };
    spec["restore"] = restore;
    let object = json!({ "apiVersion": API_VERSION, "kind": "Instance", "metadata": { "name": name }, "spec": spec });
    let instance: Instance = read(object)?;
    let instance = session.ask(session.instances().create(&PostParams::default(), &instance)).await?;
    let what = match found.set() {
        Some((set, size)) if whole => format!("the set {set} of {size} backups"),
        Some((set, size)) => format!("the backup {}, a part of the set {set} of {size}", found.place.id),
        None => format!("the backup {}", found.place.id),
    };
    let sentence = format!("Instance {}/{name} is made from {what}", session.namespace);
    if arguments.no_wait {
        output::told(format, &instance, &sentence)?;
        return Ok(Outcome::Done);
    }
    eprintln!("{sentence}");
    follow(&session, &name, arguments.timeout, format).await
}

/// Data is only replaced where the instance is there and named twice.
fn agreed(arguments: &Arguments, session: &Session<'_>, there: Option<&Instance>) -> Result<(), CommandError> {
    let name = &arguments.name;
    let place = || format!("namespace {} on {}", session.namespace, session.server);
    match (&arguments.replace_data_of, there) {
        (None, None) => Ok(()),
        (Some(agreed), Some(_)) if agreed == name => Ok(()),
        (Some(agreed), Some(_)) => {
            Err(CommandError::new(format!("--replace-data-of says {agreed}, and the instance is {name}"))
                .at(place())
                .remedy("give the same name twice, or leave --replace-data-of out to make a new instance"))
        }
        (Some(_), None) => Err(CommandError::new(format!("there is no instance {name} whose data could be replaced"))
            .at(place())
            .remedy("leave --replace-data-of out: a new instance is made")),
        (None, Some(_)) => {
            Err(CommandError::new(format!("there is an instance {name} already; its data is not touched"))
                .at(place())
                .remedy(format!(
                    "choose another name for a new instance, or say --replace-data-of {name} to restore in place"
                )))
        }
    }
}

async fn chosen<'a>(arguments: &Arguments, source: &Source, catalog: &'a Catalog) -> Result<&'a Found, CommandError> {
    if let Some(word) = &arguments.backup {
        return source::find(catalog, word);
    }
    let word = arguments.instance.as_deref().unwrap_or_default();
    let owners = source::owners(source, catalog, word).await;
    let owner = match owners.as_slice() {
        [one] => one,
        [] => {
            return Err(CommandError::new(format!("there are no backups of an instance {word}"))
                .at(source.address())
                .remedy("names can only be read with --identity; `midship backup list` shows UIDs"));
        }
        several => {
            let uids: Vec<&str> = several.iter().map(|owner| owner.instance.as_str()).collect();
            return Err(CommandError::new(format!("several instances were called {word}"))
                .at(source.address())
                .remedy(format!("give the UID: one of {}", uids.join(", "))));
        }
    };
    let target = arguments.at.map_or(Target::Newest, Target::By);
    let chain = catalog.chain(owner, target)?;
    let nothing = || CommandError::new("there is nothing to restore").at(source.address());
    let found = chain.last().copied().ok_or_else(nothing)?;
    // a part that nobody asked for would pass for the whole
    let parts = catalog.parts(found);
    if parts.len() < 2 || !found.is_part() {
        return Ok(found);
    }
    if arguments.at.is_some() {
        return Err(CommandError::new("its groups have no common log that leads to a moment")
            .at("--at")
            .remedy("leave --at out: a backup of all groups is restored as it was made"));
    }
    match catalog.newest_set(owner, Timestamp::MAX).map(|set| set.parts.first().map(|(_, part)| *part)) {
        Ok(Some(part)) => return Ok(part),
        Ok(None) | Err(SetError::Nothing) => {}
        Err(error) => {
            return Err(CommandError::new(error.to_string()).at(source.address()).remedy("make another backup"));
        }
    }
    let parts: Vec<String> = parts.iter().map(|(group, found)| format!("{} ({group})", found.place.id)).collect();
    Err(CommandError::new("each backup of it is of one group of its pods and has a part of the data")
        .at(source.address())
        .remedy(format!("restore each into an instance of its own that has one group: one of {}", parts.join(", "))))
}

/// What the new instance is to be: as a file says, or as the old one was.
async fn spec(
    arguments: &Arguments,
    session: &Session<'_>,
    source: &Source,
    found: &Found,
) -> Result<Value, CommandError> {
    let mut spec = match &arguments.file {
        Some(path) => {
            let at = || path.display().to_string();
            let unreadable =
                |error: &dyn std::error::Error| CommandError::new(format!("the file cannot be read: {error}")).at(at());
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
            let object: Value = serde_saphyr::from_str(&text).map_err(|error| unreadable(&error))?;
            object
                .get("spec")
                .cloned()
                .ok_or_else(|| CommandError::new("the file holds no Instance: it has no spec").at(at()))?
        }
        None => match source.described(found).await {
            Some(Ok(described)) => described.get("spec").cloned().unwrap_or_default(),
            Some(Err(reason)) => {
                return Err(CommandError::new(format!("what the instance was cannot be read: {reason}"))
                    .at(format!("backup {} in {}", found.place.id, source.address()))
                    .remedy("give the private key it was encrypted to, or the new Instance with --file"));
            }
            None => of_the_living(session, found).await?,
        },
    };
    let Some(fields) = spec.as_object_mut() else {
        return Err(CommandError::new("the backup does not say what the instance was")
            .at(format!("backup {}", found.place.id))
            .remedy("give the new Instance with --file"));
    };
    // what belongs to the old place alone
    for field in ["restore", "state", "suspend"] {
        fields.remove(field);
    }
    if arguments.source.is_store() && arguments.file.is_none() {
        fields.remove("backup");
    }
    Ok(spec)
}

/// The instance that was backed up, where it still lives.
async fn of_the_living(session: &Session<'_>, found: &Found) -> Result<Value, CommandError> {
    let all = session.ask(session.instances().list(&ListParams::default())).await?;
    let uid = found.place.owner.instance.as_str();
    let living = all.items.into_iter().find(|instance| instance.uid().as_deref() == Some(uid));
    let living = living.ok_or_else(|| {
        CommandError::new("what the instance was is only for those with a key, and it is not there any more")
            .at(format!("backup {}", found.place.id))
            .remedy("give the private key with --identity FILE, or the new Instance with --file")
    })?;
    serde_json::to_value(living.spec).map_err(|error| CommandError::new(error.to_string()))
}

/// The BackupRepository the controller restores from; one is made where only the store is known.
async fn repository(
    arguments: &Arguments,
    session: &Session<'_>,
    source: &Source,
    found: &Found,
) -> Result<String, CommandError> {
    if let Some(home) = &source.home {
        return Ok(home.object.name_any());
    }
    let Place::S3(settings) = &source.place else {
        return Err(CommandError::new("a folder of this machine cannot be reached from the cluster")
            .at(source.address())
            .remedy(
                "mount it into the controller, make a BackupRepository for it, and name that too, with --repository",
            ));
    };
    let name = format!("{}-restore", arguments.name);
    let mut s3 = json!({ "bucket": settings.bucket, "region": settings.region, "endpoint": settings.endpoint,
        "pathStyle": settings.path_style });
    if !settings.prefix.is_empty() {
        s3["prefix"] = json!(settings.prefix);
    }
    if let Some(ca) = &settings.ca {
        let secret = format!("{name}-ca");
        put(session, secret_of(&secret, &[("ca.crt", ca)])).await?;
        s3["ca"] = json!({ "name": secret });
    }
    match &settings.credentials {
        Credentials::WebIdentity => s3["webIdentity"] = json!(true),
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            let secret = format!("{name}-store");
            let mut values =
                vec![("accessKeyId", access_key_id.as_str()), ("secretAccessKey", secret_access_key.expose())];
            values.extend(session_token.as_ref().map(|token| ("sessionToken", token.expose())));
            put(session, secret_of(&secret, &values)).await?;
            s3["credentials"] = json!({ "name": secret });
        }
    }
    let recipient = source.identity.as_ref().map(|identity| identity.recipient().to_string());
    let encryption = match (recipient, &found.manifest.epoch) {
        (Some(recipient), Some(_)) => json!({ "recipients": [recipient] }),
        _ => json!({ "disabled": true }),
    };
    let spec = json!({ "s3": without_nothing(s3), "encryption": encryption, "access": "ReadOnly" });
    let metadata = json!({ "name": name, "labels": { labels::MANAGED_BY: labels::MANAGER } });
    let object = json!({ "apiVersion": API_VERSION, "kind": "BackupRepository", "metadata": metadata, "spec": spec });
    // whoever restores from it believes the signatures that were believed here, and no others
    let pinned = session.within(keys::pin(&session.client, &session.namespace, &name, &source.repository)).await?;
    pinned.map_err(|error| CommandError::new(error.to_string()))?;
    put::<BackupRepository>(session, read(object)?).await?;
    eprintln!("BackupRepository {}/{name} shows the store, and only reads it", session.namespace);
    Ok(name)
}

/// The Secret with the private key; none where nothing is encrypted.
async fn identity(
    arguments: &Arguments,
    session: &Session<'_>,
    source: &Source,
    found: &Found,
) -> Result<Option<String>, CommandError> {
    if found.manifest.epoch.is_none() {
        return Ok(None);
    }
    if let Some(secret) = &arguments.identity_secret {
        if source.kit.is_some() {
            let at = format!("Secret {}/{secret}", session.namespace);
            eprintln!("{at} is used as it is: where slots are lost, put the recovery kit into it under `{KIT}`");
        }
        return Ok(Some(secret.to_string()));
    }
    let Some(identity) = &source.identity else { return Ok(None) };
    let name = format!("{}-restore-identity", arguments.name);
    let (key, kit) = (identity.secret(), source.kit.as_ref().map(|kit| kit.text(Timestamp::now())));
    let mut values = vec![("identity", key.expose())];
    values.extend(kit.as_ref().map(|kit| (KIT, kit.as_str())));
    put(session, secret_of(&name, &values)).await?;
    eprintln!("Secret {}/{name} holds the private key; delete it once the data is there", session.namespace);
    Ok(Some(name))
}

fn secret_of(name: &str, values: &[(&str, &str)]) -> Secret {
    let data: BTreeMap<String, ByteString> =
        values.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
    let labels = [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Secret { metadata, data: Some(data), ..Secret::default() }
}

fn read<T: DeserializeOwned>(object: Value) -> Result<T, CommandError> {
    serde_json::from_value(object).map_err(|error| {
        CommandError::new(format!("the new instance cannot be written down: {error}"))
            .remedy("give the new Instance with --file")
    })
}

async fn put<K>(session: &Session<'_>, object: K) -> Result<(), CommandError>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(session.client.clone(), &session.namespace);
    let name = object.name_any();
    let ours = |there: &K| there.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER);
    // what an earlier restore of this name left is renewed; what belongs to others is not touched
    if let Some(there) = session.ask(api.get_opt(&name)).await?.filter(ours) {
        let mut object = object;
        object.meta_mut().resource_version = there.resource_version();
        return session.ask(api.replace(&name, &PostParams::default(), &object)).await.map(drop);
    }
    session.ask(api.create(&PostParams::default(), &object)).await.map(drop)
}

/// Until the data is there and the instance serves.
async fn follow(session: &Session<'_>, name: &str, timeout: u64, format: Format) -> Result<Outcome, CommandError> {
    let api = session.instances();
    let seen = watch(Duration::from_secs(timeout), async || {
        let instance = session.ask(api.get(name)).await?;
        let conditions = instance.status.unwrap_or_default().conditions;
        let holds = |type_| find(&conditions, type_).is_some_and(|found| found.status == ConditionStatus::True);
        let told = |type_| find(&conditions, type_).map(|found| found.message.clone());
        if holds("Restored") && holds(READY) {
            return Ok(Look::Ended(told("Restored").unwrap_or_default()));
        }
        let news = if holds("Restored") { told(READY) } else { told("Restored").or_else(|| told(READY)) };
        Ok(Look::Waiting(news.unwrap_or_else(|| "waits for a controller to take it up".to_owned())))
    })
    .await?;
    match seen {
        Look::Ended(message) => {
            let sentence = format!("{name} serves: {}", printable(&message));
            output::told(format, &session.instance(name).await?, &sentence)?;
            Ok(Outcome::Done)
        }
        Look::Waiting(news) => Err(CommandError::new(format!("the instance does not serve after {timeout} s"))
            .at(format!("Instance {}/{name}: {}", session.namespace, printable(&news)))
            .remedy(format!("midship describe inst/{name} -n {}", session.namespace))),
    }
}
