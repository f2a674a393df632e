//! A cluster that answers, a namespace, and objects as people name them: `inst/orders-cache`, `instances orders-cache`.

use std::ffi::OsStr;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};

use super::connection::Connection;
use super::error::CommandError;
use crate::api::{GitSource, Instance, Kind, Operation};
use crate::cluster::problem::Problem;
use crate::extension::problem::{closest, unknown};
use crate::names::ObjectName;

/// A cluster that answers.
#[derive(Clone)]
pub struct Session<'a> {
    connection: &'a Connection,
    pub client: Client,
    pub server: String,
    /// The namespace that is meant where nothing else is said.
    pub namespace: String,
}

/// What a person pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    pub name: String,
}

impl<'a> Session<'a> {
    pub async fn open(connection: &'a Connection) -> Result<Self, CommandError> {
        let cluster = connection.connect().await?;
        let namespace = connection.namespace.as_ref().map(ToString::to_string);
        let namespace = namespace.unwrap_or_else(|| cluster.config.default_namespace.clone());
        Ok(Self { connection, client: cluster.client, server: cluster.config.cluster_url.to_string(), namespace })
    }

    /// The same in another namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The answer of the API server in time, or why there is none.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CommandError> {
        self.connection.in_time(&self.server, question).await
    }

    /// The answer to one of many looks: where the API server is away for a while, why that is, which ends nothing.
    pub async fn glance<T>(
        &self,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, String>, CommandError> {
        match self.within(question).await {
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(error)) if passes(&error) => Ok(Err(Problem::from_kube(&error).what)),
            Ok(Err(error)) => Err(Problem::from_kube(&error).at(&self.server).into()),
            Err(late) => Ok(Err(late.what)),
        }
    }

    /// The answer of the API server whenever it comes: what is watched may be quiet for long.
    pub async fn await_answer<T>(
        &self,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CommandError> {
        Ok(question.await.map_err(|error| Problem::from_kube(&error).at(&self.server))?)
    }

    /// What asks the API server in its own way, in time.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        self.connection.within(&self.server, work).await
    }

    /// Whether the source with this label is gone, and nobody reads the files any more of what it applied.
    pub async fn is_gone(&self, label: &str) -> bool {
        // a label that was shortened does not tell which source it was
        let Some((namespace, name)) = label.split_once('.').filter(|_| label.len() < 63) else { return false };
        let sources = self.in_namespace(namespace).sources();
        matches!(self.ask(sources.get_opt(name)).await, Ok(None))
    }

    /// Objects of any kind of ours, in the namespace where the kind has one.
    pub fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        if is_namespaced(kind) {
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
        } else {
            Api::all_with(self.client.clone(), &kind.resource())
        }
    }

    pub fn instances(&self) -> Api<Instance> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn sources(&self) -> Api<GitSource> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn operations(&self) -> Api<Operation> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The object, or the one that was probably meant.
    pub async fn get(&self, target: &Target) -> Result<DynamicObject, CommandError> {
        let api = self.objects(target.kind);
        match self.ask(api.get_opt(&target.name)).await? {
            Some(object) => Ok(object),
            None => Err(self.not_found(target).await),
        }
    }

    pub async fn instance(&self, name: &str) -> Result<Instance, CommandError> {
        named(Kind::Instance, name)?;
        match self.ask(self.instances().get_opt(name)).await? {
            Some(instance) => Ok(instance),
            None => Err(self.not_found(&Target { kind: Kind::Instance, name: name.to_owned() }).await),
        }
    }

    pub async fn source(&self, name: &str) -> Result<GitSource, CommandError> {
        named(Kind::GitSource, name)?;
        match self.ask(self.sources().get_opt(name)).await? {
            Some(source) => Ok(source),
            None => Err(self.not_found(&Target { kind: Kind::GitSource, name: name.to_owned() }).await),
        }
    }

    async fn not_found(&self, target: &Target) -> CommandError {
        let Target { kind, name } = target;
        let here = self.objects(*kind);
        let names = match self.ask(here.list_metadata(&ListParams::default())).await {
            Ok(list) => list.items.iter().map(ResourceExt::name_any).collect(),
            Err(_) => Vec::new(),
        };
        let error = CommandError::new(unknown(kind.as_str(), name, names.iter().map(String::as_str)));
        let plural = kind.plural();
        if is_namespaced(*kind) {
            error
                .at(format!("namespace {} on {}", self.namespace, self.server))
                .remedy(format!("name the namespace with -n; `midship get {plural} -A` lists all"))
        } else {
            error.at(self.server.clone()).remedy(format!("`midship get {plural}` lists all"))
        }
    }
}

/// Whether another answer can be hoped for: nobody answered, or the server was not able to.
fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

pub fn is_namespaced(kind: Kind) -> bool {
    kind != Kind::Extension
}

/// Words in which shells offer the kinds, and any other word may stand.
#[derive(Clone)]
pub struct KindWords;

impl TypedValueParser for KindWords {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        static PLURALS: LazyLock<Vec<String>> = LazyLock::new(|| Kind::ALL.iter().map(|kind| kind.plural()).collect());
        Some(Box::new(PLURALS.iter().map(|plural| PossibleValue::new(plural.as_str()))))
    }
}

/// The kind a word means, or the one that was probably meant.
pub fn kind(word: &str) -> Result<Kind, CommandError> {
    let lower = word.to_ascii_lowercase();
    let alias = match lower.as_str() {
        "source" | "sources" => Some(Kind::GitSource),
        "repository" | "repositories" => Some(Kind::BackupRepository),
        "policy" | "policies" => Some(Kind::BackupPolicy),
        _ => None,
    };
    alias.or_else(|| Kind::find(word)).ok_or_else(|| {
        let plurals: Vec<String> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
        let shorts = Kind::ALL.iter().map(|kind| kind.short());
        let known: Vec<&str> =
            plurals.iter().map(String::as_str).chain(["sources", "repositories", "policies"]).collect();
        let error = match closest(word, known.iter().copied()) {
            Some(close) => CommandError::new(format!("there is no kind {word:?}; did you mean {close:?}?")),
            None => CommandError::new(format!("there is no kind {word:?}")),
        };
        error.remedy(format!("kinds are {}, or in short {}", plurals.join(", "), shorts.collect::<Vec<_>>().join(", ")))
    })
}

/// What words like `inst/x`, `instances x` or, where a kind goes without saying, `x` point at.
pub fn target(words: &[String], assumed: Option<Kind>) -> Result<Target, CommandError> {
    let how = "write KIND/NAME, such as inst/orders-cache";
    match words {
        [one] => match (one.split_once('/'), assumed) {
            (Some((kind_word, name)), _) if !name.is_empty() && !name.contains('/') => named(kind(kind_word)?, name),
            (None, Some(kind)) if !one.is_empty() => named(kind, one),
            _ => Err(CommandError::new(format!("{one:?} does not name an object")).remedy(how)),
        },
        [one, other] if one.contains('/') || other.contains('/') => {
            Err(CommandError::new(format!("{one:?} and {other:?} are more than one object"))
                .remedy("name one at a time: KIND NAME, or KIND/NAME"))
        }
        [kind_word, name] => named(kind(kind_word)?, name),
        _ => Err(CommandError::new("name one object").remedy(how)),
    }
}

/// The object, where this can be a name: it becomes part of an address.
fn named(kind: Kind, name: &str) -> Result<Target, CommandError> {
    match ObjectName::parse(name) {
        Ok(_) => Ok(Target { kind, name: name.to_owned() }),
        Err(error) => Err(CommandError::new(error.to_string()).remedy("write KIND/NAME, such as inst/orders-cache")),
    }
}

/// The same, where only an instance makes sense.
pub fn instance_name(word: &str) -> Result<String, CommandError> {
    let target = target(&[word.to_owned()], Some(Kind::Instance))?;
    if target.kind == Kind::Instance {
        return Ok(target.name);
    }
    Err(CommandError::new(format!("{word:?} is no instance")).remedy("write inst/NAME, or the name alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn objects_are_named_as_people_do() {
        let instance = Target { kind: Kind::Instance, name: "x".into() };
        for text in ["inst/x", "instances x", "Instance/x", "x"] {
            assert_eq!(target(&words(text), Some(Kind::Instance)).expect("an object"), instance, "{text}");
        }
        assert_eq!(target(&words("source/x"), None).expect("an object").kind, Kind::GitSource);
        for text in ["x", "inst/", "inst/a/b", "a b c", "inst ../../x", "inst/..", "inst A"] {
            assert!(target(&words(text), None).is_err(), "{text}");
        }
        assert!(instance_name("op/x").is_err());
        let two = target(&words("inst/a inst/b"), None).expect_err("two objects");
        assert_eq!(two.what, "\"inst/a\" and \"inst/b\" are more than one object");
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_and_a_refusal_is_not() {
        let answered = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            passes(&kube::Error::Api(Box::new(status)))
        };
        assert!([429, 500, 503, 504].into_iter().all(answered));
        assert!(![400, 401, 403, 404, 409].into_iter().any(answered));
        assert!(passes(&kube::Error::Service("connection refused".into())));
    }

    #[test]
    fn a_mistyped_kind_is_answered_with_the_one_that_was_meant() {
        let error = kind("instence").expect_err("mistyped");
        assert_eq!(error.what, "there is no kind \"instence\"; did you mean \"instances\"?");
        assert!(kind("pods").expect_err("not ours").remedies[0].starts_with("kinds are gitsources,"));
    }
}
