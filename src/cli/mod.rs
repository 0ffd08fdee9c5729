//! EDGE: the command line. Each command is a file; exit codes are 0 done, 1 failed at run time, 2 wrong usage, 78 bad
//! settings.

mod check;
mod demo;
mod eval;
mod fingerprint;
mod listen;
mod run;
mod running;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::offline::{Ear, EarFiles};

/// A call firewall: hears an automated "press 1" opening and takes the call away before anyone has pressed anything.
#[derive(Parser)]
#[command(name = "ringfence", version, about, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Run,
}

#[derive(Subcommand)]
enum Command {
    /// Run the firewall (what happens without a command, too)
    Run(run::Run),
    /// The whole job in under a minute, without any set-up: scripted callers, a small PBX, the real firewall
    Demo(demo::Demo),
    /// Let a running firewall read its settings file again
    Reload(running::Reload),
    /// The trunks of a running firewall: hosts that answer, registrations
    Trunks(running::Trunks),
    /// The last calls, from the records
    Calls(running::Calls),
    /// What happened in one call, and why
    Explain(running::Explain),
    /// Check a settings file: every mistake at once, with line and hint
    Check(check::Check),
    /// What the ear makes of one recorded call: verdict with a timeline of evidence
    Listen(listen::Listen),
    /// A recording's fingerprint, one line for the file of known recordings
    Fingerprint(fingerprint::Fingerprint),
    /// The ear over labelled calls: confusion table, time to decision
    Eval(eval::Eval),
}

/// How a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// At run time.
    Run(String),
    /// In the settings file.
    Settings(String),
}

impl Failure {
    /// At run time, with a file or folder that the command was given.
    fn with_file(file: &Path, error: &dyn Display) -> Self {
        Self::Run(format!("{}: {error}", file.display()))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Run(_) => 1,
            // EX_CONFIG of sysexits.h, which service managers know.
            Self::Settings(_) => 78,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Run(text) | Self::Settings(text) => text,
        }
    }
}

/// For how long a call is listened to, unless told otherwise: as the running firewall does.
const WATCH_FOR: &str = "25s";

/// What the ear needs, for the offline commands.
#[derive(Args, Clone)]
pub(crate) struct EarOptions {
    /// Folder of the speech model [default: where `ringfence` finds it]
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Leave words out, as on a machine without the model
    #[arg(long)]
    no_words: bool,
    /// A phrase file in place of the built-in one
    #[arg(long, value_name = "FILE")]
    phrases: Option<PathBuf>,
    /// A wording file in place of the built-in one
    #[arg(long, value_name = "FILE")]
    wording: Option<PathBuf>,
    /// A weights file in place of the built-in one
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Known recordings, as `ringfence fingerprint` writes them
    #[arg(long, value_name = "FILE")]
    campaigns: Option<PathBuf>,
}

impl EarOptions {
    fn open(&self) -> Result<Ear, Failure> {
        let Self { model, no_words, phrases, wording, weights, campaigns } = self.clone();
        let files = EarFiles { phrases, wording, weights, campaigns };
        Ear::open(model.as_deref(), !no_words, &files).map_err(|error| Failure::Run(error.to_string()))
    }
}

/// What a person should know of words that are missing; None: none are.
fn missing_words(failed: usize) -> Option<String> {
    match failed {
        0 => None,
        1 => Some("words are missing: the speech model failed once".to_owned()),
        _ => Some(format!("words are missing: the speech model failed {failed} times")),
    }
}

/// Runs a command.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Run(run)) => run.run(),
        Some(Command::Demo(demo)) => demo.run(),
        Some(Command::Reload(reload)) => reload.run(),
        Some(Command::Trunks(trunks)) => trunks.run(),
        Some(Command::Calls(calls)) => calls.run(),
        Some(Command::Explain(explain)) => explain.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Listen(listen)) => listen.run(),
        Some(Command::Eval(eval)) => eval.run(),
        Some(Command::Fingerprint(fingerprint)) => fingerprint.run(),
        None => cli.run.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            warn(failure.text());
            ExitCode::from(failure.code())
        }
    }
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes to standard error.
pub(crate) fn warn(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::WATCH_FOR;
    use crate::config;
    use crate::io::shipped::{ANNOUNCEMENTS, SPEECH_MODEL};

    /// The modules that need them cannot ask the settings.
    #[test]
    fn defaults_outside_of_the_settings_are_those_of_the_settings() {
        let settings = config::load(config::built_in(), &|path: &str| Err(format!("no file {path}"))).unwrap();

        assert_eq!(humantime::parse_duration(WATCH_FOR).unwrap(), settings.detect.watch_for);
        assert_eq!(settings.detect.words.model.to_str(), Some(SPEECH_MODEL));
        assert_eq!(settings.media.announcements.to_str(), Some(ANNOUNCEMENTS));
    }
}
