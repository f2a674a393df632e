//! The command line as people meet it: help, mistakes, colours, shells, manual pages. Runs anywhere.

mod colour;
mod diff;
mod doubts;
mod extension;
mod full;
mod git;
mod help;
mod ignored;
mod logs;
mod mistakes;
mod proxy;
mod render;
mod shells;
mod surroundings;

use std::path::Path;

use crate::api::git_source::repository::Repository;
use crate::harness::{Output, Run, midship};

/// What a person sees of it, without what differs from run to run.
fn seen(output: &Output, home: &std::path::Path) -> String {
    let Output { code, stdout, stderr, .. } = output;
    let text = format!("exit code {code}\n--- stdout\n{stdout}--- stderr\n{stderr}");
    text.replace(&home.display().to_string(), "HOME").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

/// Runs it and returns what a person sees.
fn shown(run: Run) -> String {
    let home = run.home().to_owned();
    seen(&run.output(), &home)
}

/// The commands that `midship --help` names.
fn commands() -> Vec<String> {
    let help = midship().arg("--help").stdout();
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list of commands");
    let name = |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
    let names = list.lines().filter_map(name).filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

/// A repository with an instance and the packages that are shipped.
fn team() -> Repository {
    let repository = Repository::new();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions");
    Run::new("cp").arg("-r").arg(packages).arg(repository.path().join("extensions")).stdout();
    repository.write("instances/shop/orders.yaml", ORDERS);
    repository.commit("Begin");
    repository
}

const ORDERS: &str = "apiVersion: midship.dev/v1alpha1
kind: Instance
metadata: {name: orders}
spec:
  type: redis
  version: \"7.0\"
  extensionVersion: 1.0.0
  components:
    - name: redis
      replicas: 3
      parameters: {maxmemory-policy: allkeys-lru}
";
