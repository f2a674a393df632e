//! A command line that is not understood: what is wrong, where, and what to do, from what the parser knows.

use std::any::TypeId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command};

use super::error::CommandError;

/// Prints help where it was asked for, and otherwise what is wrong. Code 2, which the parser has for mistakes, means
/// elsewhere that there are changes.
pub fn answer(error: &Error, command: &Command) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{}", error.render().ansi());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render().ansi());
            ExitCode::from(1)
        }
        _ => {
            explain(error, command).print();
            ExitCode::from(1)
        }
    }
}

fn explain(error: &Error, command: &Command) -> CommandError {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let head = paragraphs.next().unwrap_or_default();
    let mut lines = head.strip_prefix("error: ").unwrap_or(head).lines().map(str::trim);
    let first = lines.next().unwrap_or_default().to_owned();
    let (choices, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("[possible values: "));
    let what = if rest.is_empty() { first } else { format!("{first} {}", rest.join(", ")) };
    let (mut tips, mut usage) = (Vec::new(), None);
    for line in paragraphs.flat_map(str::lines).map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            tips.push(tip.to_owned());
        } else if let Some(line) = line.strip_prefix("Usage: ") {
            usage = Some(line.to_owned());
        }
    }
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => Some(flag.clone()),
        Some(ContextValue::Strings(flags)) => Some(flags.join(", ")),
        _ => None,
    };
    let program = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    // arguments know how they are called only once the whole is put together
    let mut whole = command.clone();
    whole.build();
    let usage = usage.map(|usage| without_surroundings(usage, &whole));
    let place = flag.clone().or_else(|| usage.clone()).unwrap_or_else(|| program.clone());
    let mut told = CommandError::new(what.trim_end_matches(':')).at(place);
    for tip in tips {
        told = told.remedy(tip);
    }
    for list in choices {
        let list = list.trim_start_matches("[possible values: ").trim_end_matches(']');
        told = told.remedy(format!("choose one of: {list}"));
    }
    let known = flag.filter(|_| error.kind() == ErrorKind::ValueValidation).and_then(|flag| find(&whole, &flag));
    if let Some(arg) = known {
        told = told.remedy(takes(arg));
    }
    match usage {
        Some(usage) if told.remedies.is_empty() => told.remedy(format!("write: {usage}")),
        _ if told.remedies.is_empty() => told.remedy(format!("see what there is: {program} --help")),
        _ => told,
    }
}

/// How it is written, without options that variables of the environment gave: nobody has to write those.
fn without_surroundings(usage: String, command: &Command) -> String {
    let given = command.get_arguments().filter(|arg| arg.get_env().is_some() && !arg.is_required_set());
    let usage = given.fold(usage, |usage, arg| usage.replace(&format!(" {arg}"), ""));
    command.get_subcommands().fold(usage, without_surroundings)
}

/// The argument that calls itself so, anywhere in the command.
fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let here = command.get_arguments().find(|arg| arg.to_string() == flag);
    here.or_else(|| command.get_subcommands().find_map(|inner| find(inner, flag)))
}

/// What may stand there, and what it is for.
fn takes(arg: &Arg) -> String {
    let parsed = arg.get_value_parser().type_id();
    let is = |id: TypeId| parsed == id;
    let is_time = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "TIME"));
    let form = if is(TypeId::of::<u64>()) && is_time {
        "give a time such as 30s, 5m or 1h, or a number of seconds"
    } else if [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()].into_iter().any(is)
    {
        "give a whole number"
    } else if is(TypeId::of::<f64>()) {
        "give a number"
    } else if is(TypeId::of::<SocketAddr>()) {
        "give an address with a port, such as 0.0.0.0:8081"
    } else if is(TypeId::of::<bool>()) {
        "give true or false"
    } else if is(TypeId::of::<PathBuf>()) {
        "give a path"
    } else {
        "give what this is"
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("{form}: {}", help.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use clap::value_parser;

    use super::*;

    fn told(args: &[&str]) -> CommandError {
        let burst =
            Arg::new("burst").long("burst").value_name("N").value_parser(value_parser!(u32)).help("Requests at once.");
        let output = Arg::new("output").long("output").value_parser(["table", "json"]);
        let to = Arg::new("to").long("to").value_name("FOLDER").required(true);
        let given = Arg::new("given").long("given").value_name("FILE").env("PATH");
        let command = Command::new("midship")
            .subcommand_required(true)
            .subcommand(Command::new("controller").arg(burst).arg(output))
            .subcommand(Command::new("man").arg(to).arg(given));
        let error = command.clone().try_get_matches_from(args).expect_err("a mistake");
        explain(&error, &command)
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_a_way_out() {
        let number = told(&["midship", "controller", "--burst=1e+06"]);
        assert_eq!(number.what, "invalid value '1e+06' for '--burst <N>': invalid digit found in string");
        assert_eq!(number.place.as_deref(), Some("--burst <N>"));
        assert_eq!(number.remedies, ["give a whole number: Requests at once."]);
        let choice = told(&["midship", "controller", "--output", "jsn"]);
        assert_eq!(choice.remedies, ["a similar value exists: 'json'", "choose one of: table, json"]);
        let missing = told(&["midship", "man"]);
        assert_eq!(missing.what, "the following required arguments were not provided: --to <FOLDER>");
        assert_eq!(missing.remedies, ["write: midship man --to <FOLDER>"]);
        let unknown = told(&["midship", "contrler"]);
        assert_eq!(unknown.remedies, ["a similar subcommand exists: 'controller'"]);
        let flag = told(&["midship", "man", "--frobnicate"]);
        assert_eq!(flag.place.as_deref(), Some("--frobnicate"));
        assert!(!flag.remedies.is_empty());
    }
}
