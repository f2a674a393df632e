//! Being a plugin of kubectl: the names we are called by, and completions when kubectl asks for them.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use clap::builder::PossibleValue;
use clap::{Arg, Command};

/// Who called us, which is told by the name we were called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Person,
    /// `kubectl midship …` runs `kubectl-midship …`.
    Kubectl,
    /// `kubectl midship <TAB>` runs `kubectl_complete-midship …` and reads candidates from its standard output.
    KubectlCompletion,
}

impl Caller {
    pub fn of(called: Option<&OsStr>) -> Self {
        let stem = called.and_then(|path| Path::new(path).file_stem()).and_then(|stem| stem.to_str());
        match stem {
            Some("kubectl-midship") => Self::Kubectl,
            Some("kubectl_complete-midship") => Self::KubectlCompletion,
            _ => Self::Person,
        }
    }

    /// The file that shells complete.
    pub fn program(self) -> &'static str {
        if self == Self::Person { "midship" } else { "kubectl-midship" }
    }
}

/// What may stand where the last word is, one line each, as kubectl reads it: a word, a tab, what it is for; at the end
/// `:4` says that files are no candidates here, `:0` that they are.
pub fn candidates(mut command: Command, words: &[String]) -> String {
    command.build();
    let (word, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let mut here = &command;
    let mut waiting: Option<&Arg> = None;
    for word in before {
        waiting = match waiting {
            Some(_) => None,
            None if word.starts_with('-') => option(here, word).filter(|_| !word.contains('=')),
            None => {
                here = here.find_subcommand(word).unwrap_or(here);
                None
            }
        };
    }
    let values = |arg: &Arg| arg.get_possible_values().iter().filter_map(candidate).collect::<Vec<_>>();
    let mut files = false;
    let all: Vec<(String, String)> = if let Some(option) = waiting {
        files = option.get_possible_values().is_empty();
        values(option)
    } else if word.starts_with('-') {
        let options = here.get_arguments().filter(|arg| !arg.is_hide_set());
        options.filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help())))).collect()
    } else {
        let commands = here.get_subcommands().filter(|command| !command.is_hide_set());
        let commands = commands.map(|command| (command.get_name().to_owned(), help(command.get_about())));
        files = here.get_positionals().any(|arg| arg.get_possible_values().is_empty());
        commands.chain(here.get_positionals().flat_map(values)).collect()
    };
    let mut text = String::new();
    for (candidate, help) in all.iter().filter(|(candidate, _)| candidate.starts_with(word)) {
        let _ = writeln!(text, "{candidate}\t{help}");
    }
    text + if files { ":0\n" } else { ":4\n" }
}

/// The option that takes its value from the next word.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let named = |arg: &&Arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| word == format!("-{short}")),
    };
    command.get_arguments().find(named).filter(|arg| arg.get_action().takes_values())
}

fn candidate(value: &PossibleValue) -> Option<(String, String)> {
    (!value.is_hide_set()).then(|| (value.get_name().to_owned(), help(value.get_help())))
}

/// The first line of a help text.
fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = Command::new("midship")
            .arg(Arg::new("output").short('o').long("output").global(true).value_parser(["table", "json"]))
            .arg(Arg::new("file").long("file").help("A file.").global(true))
            .subcommand(Command::new("doctor").about("Looks."))
            .subcommand(Command::new("completion").arg(Arg::new("shell").value_parser(["bash", "fish"])));
        candidates(command, &words)
    }

    #[test]
    fn commands_and_options_are_offered_where_they_may_stand() {
        assert_eq!(asked(&["do"]), "doctor\tLooks.\n:4\n");
        assert_eq!(asked(&["doctor", "--fi"]), "--file\tA file.\n:4\n");
        assert_eq!(asked(&["-o", "json", "comp"]), "completion\t\n:4\n");
    }

    #[test]
    fn values_are_offered_where_there_are_only_a_few_and_files_elsewhere() {
        assert_eq!(asked(&["-o", "j"]), "json\t\n:4\n");
        assert_eq!(asked(&["completion", ""]), "bash\t\nfish\t\n:4\n");
        assert_eq!(asked(&["--file", ""]), ":0\n");
    }

    #[test]
    fn the_name_says_who_calls() {
        let caller = |name: &str| Caller::of(Some(OsStr::new(name)));
        assert_eq!(caller("/usr/local/bin/kubectl-midship"), Caller::Kubectl);
        assert_eq!(caller("kubectl_complete-midship"), Caller::KubectlCompletion);
        assert_eq!(caller("midship"), Caller::Person);
        assert_eq!(Caller::of(None), Caller::Person);
    }
}
