//! `midship completion`: a script that teaches a shell our commands.

use clap::Args;
use clap_complete::Shell;

use super::error::CommandError;
use super::{Outcome, command};

#[derive(Args)]
pub struct Arguments {
    /// The shell. For bash: source <(midship completion bash)
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, CommandError> {
    clap_complete::generate(arguments.shell, &mut command(), "midship", &mut std::io::stdout());
    Ok(Outcome::Done)
}
