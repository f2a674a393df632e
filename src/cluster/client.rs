//! The connection to the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tower::buffer::BufferLayer;

use super::problem::Problem;
use super::proxy::proxy;
use super::rate_limit::{Limits, RateLimit};
use crate::names::NamespaceName;

/// Credential plugins that run. One that hangs is not started a second time.
static PLUGINS: Semaphore = Semaphore::const_new(1);

/// Which cluster is meant: what kubectl calls `--kubeconfig`, `--context`, `--cluster` and `--user`.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
}

impl Target {
    /// Reads the configuration anew: a named kubeconfig, `KUBECONFIG`, `~/.kube/config`, or the pod's own account.
    pub async fn config(&self) -> Result<Config, Problem> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let chosen = self.context.is_some() || self.cluster.is_some() || self.user.is_some();
        // a pod's own account, unless somebody asks for more
        let mut config = if self.kubeconfig.is_none() && !chosen && in_pod() && !kubeconfig_exists() {
            Config::incluster().map_err(|error| Problem::own_account(&error))?
        } else {
            let (kubeconfig, place) = self.kubeconfig()?;
            self.check(&kubeconfig).map_err(|problem| problem.at(&place))?;
            let own = self.own_proxy(&kubeconfig);
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            let mut config = config.map_err(|error| Problem::kubeconfig(&place, &error))?;
            check_config(&config).map_err(|problem| problem.at(&place))?;
            // the library asks NO_PROXY about the proxy and not about the server
            config.proxy_url = proxy(&config.cluster_url, own.as_deref(), |name| std::env::var(name).ok())?;
            config
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }

    /// The proxy that the kubeconfig has for the cluster.
    fn own_proxy(&self, kubeconfig: &Kubeconfig) -> Option<String> {
        let context = self.context.as_ref().or(kubeconfig.current_context.as_ref())?;
        let context = kubeconfig.contexts.iter().find(|one| one.name == *context)?.context.as_ref()?;
        let name = self.cluster.as_ref().unwrap_or(&context.cluster);
        let cluster = kubeconfig.clusters.iter().find(|one| one.name == *name)?.cluster.as_ref()?;
        cluster.proxy_url.clone()
    }

    /// The kubeconfig that is meant, and where it is.
    fn kubeconfig(&self) -> Result<(Kubeconfig, String), Problem> {
        if let Some(path) = &self.kubeconfig {
            let place = path.display().to_string();
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| Problem::kubeconfig(&place, &error))?;
            return Ok((kubeconfig, place));
        }
        let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
        let paths: Vec<PathBuf> = named.as_ref().map_or_else(
            || home_kubeconfig().into_iter().collect(),
            |named| std::env::split_paths(named).filter(|path| !path.as_os_str().is_empty()).collect(),
        );
        let place = named.map_or_else(
            || home_kubeconfig().map_or_else(|| "~/.kube/config".to_owned(), |path| path.display().to_string()),
            |named| format!("KUBECONFIG={}", named.to_string_lossy()),
        );
        let kubeconfig = merged(&paths)?.ok_or_else(|| Problem::no_kubeconfig(&place))?;
        Ok((kubeconfig, place))
    }

    /// Every name that was given, and every one that follows from it, has to be in the kubeconfig.
    fn check(&self, kubeconfig: &Kubeconfig) -> Result<(), Problem> {
        let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        let clusters: Vec<&str> = kubeconfig.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let users: Vec<&str> = kubeconfig.auth_infos.iter().map(|user| user.name.as_str()).collect();
        check_name("context", self.context.as_deref(), &contexts)?;
        check_name("cluster", self.cluster.as_deref(), &clusters)?;
        check_name("user", self.user.as_deref(), &users)?;
        let Some(name) = self.context.as_deref().or(kubeconfig.current_context.as_deref()) else {
            return Err(Problem::new("the kubeconfig has no current context", choose("--context", &contexts)));
        };
        check_name("context", Some(name), &contexts)?;
        let context = kubeconfig.contexts.iter().find(|one| one.name == name).and_then(|one| one.context.as_ref());
        let Some(context) = context else { return Ok(()) };
        let follows = |problem: Problem| Problem {
            what: format!("{}, which the context {name:?} names", problem.what),
            ..problem
        };
        if self.cluster.is_none() {
            check_name("cluster", Some(&context.cluster), &clusters).map_err(follows)?;
        }
        // without a user people are anonymous, which they may want; with one that is not there they do not
        let user = context.user.as_deref().filter(|user| self.user.is_none() && !user.is_empty());
        check_name("user", user, &users).map_err(follows)
    }
}

/// What the files say together, the first before the others; `None` where none is there. As with kubectl, one that is
/// missing is no mistake.
fn merged(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, Problem> {
    let mut all: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let refused = |error| Problem::kubeconfig(&path.display().to_string(), &error);
        let next = Kubeconfig::read_from(path).map_err(refused)?;
        all = Some(match all {
            Some(before) => before.merge(next).map_err(refused)?,
            None => next,
        });
    }
    Ok(all)
}

/// What the library takes as it is, and fails on later.
fn check_config(config: &Config) -> Result<(), Problem> {
    let url = &config.cluster_url;
    if !matches!(url.scheme_str(), Some("https" | "http")) || url.host().is_none_or(str::is_empty) {
        let meant = format!("https://{}", url.to_string().trim_start_matches('/'));
        return Err(Problem::new(
            format!("the server's address {:?} does not begin with https://", url.to_string()),
            format!("write the whole address, such as {meant}"),
        ));
    }
    NamespaceName::parse(&config.default_namespace)
        .map(|_| ())
        .map_err(|error| Problem::new(format!("the context's {error}"), "correct it, or name another with -n"))
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn kubeconfig_exists() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty())
        || home_kubeconfig().is_some_and(|path| path.exists())
}

fn home_kubeconfig() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".kube/config"))
}

fn choose(flag: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "name another kubeconfig with --kubeconfig or KUBECONFIG: this one has none".to_owned();
    }
    format!("choose one with {flag}: {}", known.join(", "))
}

fn check_name(what: &str, wanted: Option<&str>, known: &[&str]) -> Result<(), Problem> {
    let Some(wanted) = wanted.filter(|wanted| !known.contains(wanted)) else { return Ok(()) };
    let meant = known.iter().min_by_key(|name| strsim::damerau_levenshtein(wanted, name));
    let remedy = match meant {
        Some(meant) if strsim::damerau_levenshtein(wanted, meant) <= 3 => format!("did you mean {meant:?}?"),
        _ => choose(&format!("--{what}"), known),
    };
    Err(Problem::new(format!("the kubeconfig has no {what} {wanted:?}"), remedy))
}

/// A client that waits its turn where limits are given. A credential plugin runs here for as long as it likes.
pub fn connect(config: Config, limits: Option<Limits>) -> Result<Client, Problem> {
    let (server, plugin) = (config.cluster_url.to_string(), plugin(&config));
    let builder = ClientBuilder::try_from(config)
        .map_err(|error| Problem::from_connecting(&error, plugin.as_deref()).at(&server))?;
    Ok(match limits {
        None => builder.build(),
        Some(limits) => builder.with_layer(&BufferLayer::new(1024)).with_layer(&RateLimit::new(limits)).build(),
    })
}

/// The same, with an end to the patience for a credential plugin.
pub async fn connect_within(config: Config, limits: Option<Limits>, patience: Duration) -> Result<Client, Problem> {
    let server = config.cluster_url.to_string();
    let Some(plugin) = plugin(&config) else { return connect(config, limits) };
    let connected = timeout(patience, async {
        let turn = PLUGINS.acquire().await.ok()?;
        let (sender, receiver) = oneshot::channel();
        let runtime = Handle::current();
        // on a thread that nobody joins: a plugin that hangs must not keep the program from ending
        std::thread::spawn(move || {
            let _inside = runtime.enter();
            let connected = connect(config, limits);
            drop(turn);
            // nobody listens any more where the patience was over
            let _ = sender.send(connected);
        });
        receiver.await.ok()
    });
    connected.await.ok().flatten().unwrap_or_else(|| Err(Problem::plugin_late(&plugin, patience).at(&server)))
}

/// The program that is run for credentials.
fn plugin(config: &Config) -> Option<String> {
    let auth = &config.auth_info;
    let own = auth.exec.as_ref().map(|exec| exec.command.clone().unwrap_or_else(|| "without a command".to_owned()));
    own.or_else(|| auth.auth_provider.as_ref().map(|provider| provider.name.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_mistyped_name_is_answered_with_the_one_that_was_meant() {
        let problem = check_name("context", Some("stagin"), &["production", "staging"]).expect_err("it is not there");
        assert_eq!(problem.to_string(), "the kubeconfig has no context \"stagin\"; did you mean \"staging\"?");
        let problem = check_name("user", Some("somebody"), &["admin", "me"]).expect_err("it is not there");
        assert_eq!(problem.remedy, "choose one with --user: admin, me");
        assert!(check_name("user", Some("me"), &["admin", "me"]).is_ok());
        assert!(check_name("user", None, &[]).is_ok());
    }

    fn written(folder: &tempfile::TempDir, text: &str) -> Target {
        let path = folder.path().join("config");
        std::fs::write(&path, text).expect("it can be written");
        Target { kubeconfig: Some(path), ..Target::default() }
    }

    const SOUND: &str = "apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: \"https://127.0.0.1:1\"}}]
users: [{name: me, user: {token: s3cret}}]
contexts: [{name: there, context: {cluster: here, user: me}}]
current-context: there
";

    async fn refused(text: &str) -> Problem {
        let folder = tempfile::tempdir().expect("a folder");
        written(&folder, text).config().await.map(|_| ()).expect_err(text)
    }

    #[tokio::test]
    async fn what_is_wrong_in_a_kubeconfig_is_said_before_anything_is_tried() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(written(&folder, SOUND).config().await.is_ok());
        for (from, to, part) in [
            ("https://127.0.0.1:1", "127.0.0.1:6443", "write the whole address, such as https://127.0.0.1:6443"),
            ("user: me", "user: you", "the kubeconfig has no user \"you\", which the context \"there\" names"),
            (
                "{cluster: here",
                "{cluster: hera",
                "has no cluster \"hera\", which the context \"there\" names; did you mean \"here\"?",
            ),
            ("current-context: there", "", "the kubeconfig has no current context; choose one with --context: there"),
            ("{cluster: here,", "{cluster: here, namespace: ../.., ", "the context's namespace \"../..\" is not valid"),
        ] {
            let problem = refused(&SOUND.replacen(from, to, 1)).await.to_string().replacen(" (/", "(/", 1);
            let problem: String = problem
                .split("(/")
                .enumerate()
                .map(|(at, piece)| if at == 0 { piece } else { piece.split_once(')').expect("a place").1 })
                .collect();
            assert!(problem.contains(part), "{to}: {problem}");
        }
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_shows_nothing_of_its_neighbourhood() {
        for broken in ["    bad: [", "  user: \"s3cret\"", "  - {name: x, user: {token: [s3cret]}}", "s3cret"] {
            let text = format!("{SOUND}users:\n- name: other\n  user:\n    token: s3cret\n{broken}\n");
            let told = refused(&text).await.to_string();
            assert!(!told.contains("s3cret") && !told.contains('\n'), "{told}");
        }
        let told = refused(&SOUND.replace("{token: s3cret}", "s3cret")).await.to_string();
        assert!(!told.contains("s3cret") && told.contains("line 4"), "{told}");
    }

    #[test]
    fn files_that_are_not_there_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = written(&folder, SOUND).kubeconfig.expect("a path");
        let read = merged(&[folder.path().join("missing"), there]).expect("it can be read").expect("one is there");
        assert_eq!(read.current_context.as_deref(), Some("there"));
        assert!(merged(&[folder.path().join("missing")]).expect("nothing is wrong").is_none());
    }

    fn with_plugin(command: &str, args: &str) -> String {
        let exec = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, args: [{args}], interactiveMode: Never}}}}"
        );
        SOUND.replace("{token: s3cret}", &exec)
    }

    #[tokio::test]
    async fn a_credential_plugin_that_fails_or_hangs_is_named() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        // nobody has to be quick but to find out who hangs
        let (patient, impatient) = (Duration::from_mins(1), Duration::from_millis(300));
        let told = async |text: &str, patience: Duration| {
            let config = written(&folder, text).config().await.expect("it can be read");
            connect_within(config, None, patience).await.map(|_| ()).expect_err("no credentials").to_string()
        };
        let missing = told(&with_plugin("there-is-no-such-plugin", ""), patient).await;
        assert!(missing.contains("credential plugin \"there-is-no-such-plugin\" cannot be run"), "{missing}");
        let first = with_plugin("sh", "-c, 'echo {token: s3cret}; echo log in first >&2; exit 3'");
        let failing = told(&first, patient).await;
        assert!(failing.contains("\"sh\" failed (exit status: 3): log in first"), "{failing}");
        let garbled = told(&with_plugin("sh", "-c, 'echo \"token: [s3cret\"'"), patient).await;
        assert!(!(failing + &garbled).contains("s3cret"), "{garbled}");
        let began = Instant::now();
        let hanging = told(&with_plugin("sleep", "'60'"), impatient).await;
        assert!(hanging.contains("credential plugin \"sleep\" did not answer"), "{hanging}");
        // and it is not started again while it hangs
        assert!(told(&with_plugin("sleep", "'60'"), impatient).await.contains("did not answer"));
        assert!(began.elapsed() < Duration::from_secs(50), "nobody waits for the plugin to end");
    }
}
