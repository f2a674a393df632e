//! `midship completion`: a script that teaches a shell our commands.

use clap::Args;
use clap_complete::Shell;

use super::{Outcome, caller, command};

#[derive(Args)]
pub struct Arguments {
    /// The shell. For bash: source <(midship completion bash)
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Outcome {
    clap_complete::generate(arguments.shell, &mut command(), caller().program(), &mut std::io::stdout());
    Outcome::Done
}
