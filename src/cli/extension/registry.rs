//! `midship extension push` and `pull`, and what other commands need to read packages from a registry.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Outcome;
use super::super::error::CommandError;
use super::super::output::{self, Format, Table, printable};
use super::{good, tested};
use crate::extension::{Package, Problems};
use crate::registry::{Access, Login, Reference, Registry, RegistryError, SCHEME, Settings};

/// How a registry is reached. Names and passwords are those of `docker login`, `oras login` or `helm registry login`.
#[derive(Args)]
pub struct Reach {
    /// Speak HTTP without encryption to the registry, as to one on this machine.
    #[arg(long)]
    plain_http: bool,

    /// Authorities to trust for the registry, as PEM; those of the system where left out.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct Push {
    /// Folder of the package.
    #[arg(value_name = "FOLDER")]
    path: PathBuf,

    /// Where it goes, such as oci://registry.example.com/middleware/cache; the tag is its version where left out.
    #[arg(value_name = "REFERENCE")]
    reference: String,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args)]
pub struct Pull {
    /// What is pulled, such as oci://registry.example.com/middleware/cache:1.0.0, or with @sha256:DIGEST instead of a tag.
    #[arg(value_name = "REFERENCE")]
    reference: String,

    /// Folder of packages that it is put into, as <type>/<version>.
    #[arg(long, value_name = "FOLDER", default_value = "extensions")]
    to: PathBuf,

    #[command(flatten)]
    reach: Reach,
}

impl Reach {
    pub fn open(&self, reference: &Reference, access: Access) -> Result<Registry, CommandError> {
        let login = Login::kept(&reference.registry).map_err(help)?;
        let settings = Settings { plain_http: self.plain_http, ca: self.ca_file.clone(), login };
        Registry::new(reference, access, settings).map_err(help)
    }
}

/// The reference that a path really is.
pub fn reference(path: &Path) -> Result<Option<Reference>, CommandError> {
    let text = path.to_str().filter(|text| text.starts_with(SCHEME));
    text.map(Reference::parse).transpose().map_err(help)
}

/// A package of a registry, and where exactly it was found.
pub async fn pulled(reference: &Reference, reach: &Reach) -> Result<(Package, Reference), CommandError> {
    let (files, digest) = reach.open(reference, Access::Read)?.pull().await.map_err(help)?;
    let package = Package::load(files).map_err(|problems| {
        CommandError::new(format!("the package is wrong in {} places", problems.0.len()))
            .at(format!("{reference}\n         {}", Problems(problems.0).to_string().replace('\n', "\n         ")))
            .remedy("ask whoever published it for a version that is right")
    })?;
    Ok((package, Reference { digest: Some(digest), ..reference.clone() }))
}

pub async fn push(arguments: &Push) -> Result<Outcome, CommandError> {
    let reference = Reference::parse(&arguments.reference).map_err(help)?;
    if reference.digest.is_some() {
        return Err(CommandError::new("what is pushed gets its digest from its contents")
            .at(arguments.reference.clone())
            .remedy("leave out what follows the @"));
    }
    let package = good(&arguments.path)?;
    tested(&arguments.path, &package)?;
    // a tag knows no plus sign
    let tag = reference.tag.clone().unwrap_or_else(|| package.manifest.version.to_string().replace('+', "_"));
    let reference = reference.with_tag(&tag);
    let registry = arguments.reach.open(&reference, Access::Write)?;
    let wanted = Registry::digest(&package);
    let pinned = Reference { digest: Some(wanted.clone()), ..reference.clone() };
    match registry.digest_of(&tag).await.map_err(help)? {
        Some(there) if there == wanted => {
            println!("{pinned} was there already");
            return Ok(Outcome::Done);
        }
        Some(there) => {
            return Err(CommandError::new("a published version never changes, and this one has other contents")
                .at(format!("{there} in the registry as {reference}, {wanted} in {}", arguments.path.display()))
                .remedy("give the changed package a new version in its extension.yaml, and push that"));
        }
        None => {}
    }
    registry.push(&package, &tag).await.map_err(help)?;
    println!("{pinned}");
    Ok(Outcome::Done)
}

pub async fn pull(arguments: &Pull) -> Result<Outcome, CommandError> {
    let reference = Reference::parse(&arguments.reference).map_err(help)?;
    let (package, from) = pulled(&reference, &arguments.reach).await?;
    let manifest = &package.manifest;
    let folder = arguments.to.join(manifest.type_.as_str()).join(manifest.version.to_string());
    if folder.exists() {
        return Err(CommandError::new("there is a package of this name already")
            .at(folder.display().to_string())
            .remedy("remove it, or name another folder with --to"));
    }
    super::write(&folder, &package.files)?;
    eprintln!("{} from {from}", printable(&package.digest));
    println!("{}", printable(&folder.display().to_string()));
    Ok(Outcome::Done)
}

/// The packages of a repository, by their tags.
pub async fn list(reference: &Reference, reach: &Reach, format: Format) -> Result<Outcome, CommandError> {
    let found = reach.open(reference, Access::Read)?.packages().await.map_err(help)?;
    let rows: Vec<[String; 5]> = found
        .iter()
        .map(|(tag, artifact, digest)| {
            let (type_, version) = artifact.name();
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            [tag.clone(), text(type_), text(version), text(artifact.description()), digest.clone()]
        })
        .collect();
    let objects: Vec<_> = rows
        .iter()
        .map(|[tag, type_, version, description, digest]| {
            serde_json::json!({ "tag": tag, "type": type_, "version": version, "description": description, "digest": digest })
        })
        .collect();
    output::print(format, &objects, || {
        let mut table = Table::new(&["TAG", "TYPE", "VERSION", "DESCRIPTION", "DIGEST"]);
        for row in &rows {
            table.row(row.iter().map(|cell| cell.as_str().into()).collect());
        }
        table
    })?;
    Ok(Outcome::Done)
}

fn help(error: RegistryError) -> CommandError {
    let remedy = match &error {
        RegistryError::Reference { .. } => "write it like oci://registry.example.com/middleware/cache:1.0.0",
        RegistryError::Unreachable { .. } => {
            "check the address and the network; --plain-http for a registry without encryption, --ca-file for one with an \
             authority of its own"
        }
        RegistryError::Missing(_) => "see which there are: midship extension list oci://REGISTRY/REPOSITORY",
        RegistryError::Refused { .. } => {
            "log in first, as with `oras login` or `docker login`, as somebody who may do this"
        }
        RegistryError::NotAPackage { .. } => {
            "name an artifact that `midship extension push` or `oras push` made of a package"
        }
        RegistryError::Digest { .. } => {
            "pull again; where it stays so, the registry or something before it changes contents"
        }
        RegistryError::TooLarge { .. } => "this is no package of Midship's; check the reference",
        RegistryError::Login { .. } => "log in again, as with `oras login`",
        RegistryError::Settings(_) => "check the options of the command",
        RegistryError::Answer { .. } | RegistryError::Nonsense { .. } => {
            "check that the address is one of an OCI registry, and try again"
        }
    };
    CommandError::new(error.to_string()).remedy(remedy)
}
