//! `midship completion`: a script that teaches a shell our commands.

use clap::Args;
use clap_complete::Shell;

use super::error::CommandError;
use super::{Outcome, caller, command};

#[derive(Args)]
pub struct Arguments {
    /// The shell. For bash: source <(midship completion bash)
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), caller().program(), &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(Outcome::Done)
}
