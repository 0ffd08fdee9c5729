//! INVITEs at a rate, from one address or from many of the loopback network.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use ringfence::io::clock;
use serde_json::{Value, json};

use super::sip::Writer;
use super::{cpu, net};

/// Sockets that are kept open; with more sources, each datagram has a socket of its own.
const KEPT: u32 = 2_000;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What is flooded
    #[arg(long)]
    pub(crate) to: SocketAddrV4,
    /// From here; with --sources, from as many addresses, this being the first
    #[arg(long, default_value = "127.0.0.66:26066")]
    pub(crate) from: SocketAddrV4,
    /// Addresses
    #[arg(long, default_value_t = 1)]
    pub(crate) sources: u32,
    /// Messages a second
    #[arg(long, default_value_t = 20_000.0)]
    pub(crate) rate: f64,
    /// For so long
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Flood for so long before anything is measured
    #[arg(long, default_value_t = 0.0)]
    pub(crate) before: f64,
    /// The process under load
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

pub(crate) fn run(options: &Options) -> Value {
    assert!(options.to.ip().is_loopback() && options.from.ip().is_loopback(), "loopback only");
    let source = |number: u64| {
        let offset = (number % u64::from(options.sources)) as u32;
        SocketAddrV4::new(Ipv4Addr::from(u32::from(*options.from.ip()) + offset), options.from.port())
    };
    let many = options.sources > KEPT;
    let kept: Vec<UdpSocket> =
        (0..options.sources).filter(|_| !many).map(|number| net::open(source(number.into()))).collect();
    let writer = Writer {
        run: 1,
        caller: options.from,
        proxy: options.to,
        caller_audio: options.from,
        callee_audio: options.to,
    };
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let mut text = Vec::new();
    let mut spent_before = options.pid.map(cpu::spent);
    let mut measured = 0;
    let start = clock::now();
    let all = Duration::from_secs_f64(options.before + options.seconds);
    let begin = Duration::from_secs_f64(options.before);
    loop {
        let since = clock::now() - start;
        if since >= all {
            break;
        }
        if since >= begin && measured == 0 {
            (spent_before, measured) = (options.pid.map(cpu::spent), sent + 1);
        }
        let wanted = (since.as_secs_f64() * options.rate) as u64;
        while sent + refused < wanted {
            let number = sent + refused;
            text.clear();
            writer.invite(&mut text, number as usize);
            let left = match kept.get((number % u64::from(options.sources)) as usize) {
                Some(socket) => socket.send_to(&text, options.to),
                None => net::open(source(number)).send_to(&text, options.to),
            };
            match left {
                Ok(_) => sent += 1,
                Err(_) => refused += 1,
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let window = sent + 1 - measured.max(1);
    let spent =
        options.pid.zip(spent_before).map(|(pid, before)| cpu::spent(pid).saturating_sub(before).as_secs_f64() * 1e6);
    json!({
        "sent": sent,
        "not_sent": refused,
        "sources": options.sources,
        "rate": window as f64 / options.seconds,
        "cpu_us_per_message": spent.map(|spent| spent / window as f64),
    })
}
