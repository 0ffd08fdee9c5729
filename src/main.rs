//! Process edge: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ringfence::cli::run(ringfence::cli::Cli::parse())
}
