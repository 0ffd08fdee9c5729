//! Load for the bench: telephone calls, floods and audio, on loopback only, bounded in count and time; and the bench
//! itself.
//!
//! `tests/bench/run` runs the bench; its rows are in `rows`. Each load can be called alone as well:
//!
//! - `load calls`: both ends of calls at a rate. Nothing is sent twice, so one lost message is one failed call.
//! - `load flood`: INVITEs from one address or from many, to be dropped.
//! - `load audio`: RTP both ways through calls that it sets up over SIP, over rtpengine's NG protocol, or not at all.
//!
//! Each prints one line of JSON. `--pid` names the process under load: its CPU time in the window is in that line.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool that fails by panicking"
)]

mod audio;
mod calls;
mod cpu;
mod flood;
mod net;
mod ng;
mod numbers;
mod rows;
mod sip;
mod systems;

use clap::Parser;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
enum Load {
    /// Calls at a rate
    Calls(calls::Options),
    /// INVITEs that are to be dropped
    Flood(flood::Options),
    /// RTP both ways
    Audio(audio::Options),
    /// Ringfence beside Kamailio and rtpengine
    Bench(rows::Options),
    /// The firewall itself
    #[command(hide = true)]
    Firewall(Firewall),
}

#[derive(clap::Args)]
struct Firewall {
    /// Its settings
    config: std::path::PathBuf,
}

fn main() -> std::process::ExitCode {
    // Sleeps end when they are due, not up to 50 us later. Where that is refused, pacing is a little coarser.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    match Load::parse() {
        Load::Calls(options) => println!("{}", calls::run(&options)),
        Load::Flood(options) => println!("{}", flood::run(&options)),
        Load::Audio(options) => println!("{}", audio::run(&options)),
        Load::Bench(options) => return rows::run(&options),
        Load::Firewall(options) => {
            let arguments = ["ringfence".into(), "run".into(), "--config".into(), options.config.into_os_string()];
            return ringfence::cli::run(<ringfence::cli::Cli as Parser>::parse_from(arguments));
        }
    }
    std::process::ExitCode::SUCCESS
}
