//! `[[listen]]`, and what is common to all who are spoken to over it: transports, certificates.

use std::net::SocketAddr;

use super::certificates::{BadTls, Identity, Roots};
use super::read::{Files, fingerprint};
use super::section::{Item, Reading, Section};
use super::settings::ListenSettings;
use crate::sip::flow::{Hop, Transport};

/// Reads `[[listen]]`'s default: every address, the SIP port.
const LISTEN: &str = "0.0.0.0:5060";

const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

pub(super) fn listen<'t>(
    root: &mut Section<'_, 't>,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Vec<ListenSettings> {
    let mut listen: Vec<ListenSettings> = Vec::new();
    for mut section in root.sections(reading, "listen") {
        let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
        let identity = identity(&mut section, transport, files, reading);
        let hint = "must be an address with a port, as \"0.0.0.0:5060\"";
        let before = reading.problems.len();
        let address = section.parsed(reading, "address", hint, |text| text.parse::<SocketAddr>().ok());
        if address.is_none() && reading.problems.len() == before {
            section.missing(reading, "address", hint);
        }
        if let Some(address) = address {
            let hop = Hop { address, transport };
            if address.port() != 0 && listen.iter().any(|other| other.hop == hop) {
                reading.problem(section.at, &format!("{}.address", section.path), "", "is there twice");
            }
            listen.push(ListenSettings { hop, identity });
        }
        section.finish(reading);
    }
    if listen.is_empty() {
        for (key, value) in [("address", LISTEN), ("transport", "udp"), ("certificate", ""), ("key", "")] {
            reading.options.insert(format!("listen[0].{key}"), value.to_owned());
        }
        let address = SocketAddr::from(([0, 0, 0, 0], 5_060));
        listen.push(ListenSettings { hop: Hop::udp(address), identity: None });
    }
    listen
}

/// Certificate and key of a listener: both, where it is TLS, and neither elsewhere.
fn identity<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<Identity> {
    let before = reading.problems.len();
    let certificate = pem(section, "certificate", files, reading);
    let key = pem(section, "key", files, reading);
    if reading.problems.len() > before {
        return None;
    }
    match (transport, certificate, key) {
        (Transport::Tls, Some((at_certificate, certificate)), Some((at_key, key))) => {
            let bad = match Identity::from_pem(&certificate, &key) {
                Ok(identity) => return Some(identity),
                Err(bad) => bad,
            };
            let item = if bad == BadTls::NoCertificate { at_certificate } else { at_key };
            reading.problem(item.at, &item.path, item.source, bad.to_string());
        }
        (Transport::Tls, certificate, key) => {
            if certificate.is_none() {
                section.missing(reading, "certificate", "the file with the certificate chain that peers are shown");
            }
            if key.is_none() {
                section.missing(reading, "key", "the file with the certificate's private key");
            }
        }
        (Transport::Udp | Transport::Tcp, certificate, key) => {
            for (item, _) in certificate.into_iter().chain(key) {
                reading.problem(item.at, &item.path, item.source, "is of use with transport = \"tls\" only");
            }
        }
    }
    None
}

/// Whom we believe about a peer's certificate; None: the system's own.
pub(super) fn roots<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<Roots> {
    let (item, text) = pem(section, "ca", files, reading)?;
    if transport != Transport::Tls {
        reading.problem(item.at, &item.path, item.source, "is of use with transport = \"tls\" only");
        return None;
    }
    Roots::from_pem(&text).map_err(|bad| reading.problem(item.at, &item.path, item.source, bad.to_string())).ok()
}

/// A file that an option names: where the option stands, and the file's text. That the file has changed is a change.
pub(super) fn pem<'a, 't>(
    section: &mut Section<'a, 't>,
    key: &'static str,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<(Item<'a, 't>, String)> {
    let file = section
        .parsed(reading, key, "must be the path of a PEM file", |text| (!text.is_empty()).then(|| text.to_owned()))?;
    let item = section.item(reading, key)?;
    match files.text(&file) {
        Ok(text) => {
            reading.options.insert(format!("{} (content)", item.path), fingerprint(&text));
            Some((item, text))
        }
        Err(error) => {
            reading.problem(item.at, &item.path, item.source, format!("cannot be read: {error}"));
            None
        }
    }
}

/// How a next hop is reached: only over what we listen on, because it must be able to reach us.
pub(super) fn transport<'t>(
    section: &mut Section<'_, 't>,
    listen: &[ListenSettings],
    reading: &mut Reading<'t>,
) -> Transport {
    let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
    is_listened(section, transport, listen, reading);
    transport
}

pub(super) fn is_listened<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    listen: &[ListenSettings],
    reading: &mut Reading<'t>,
) {
    if !listen.iter().any(|listen| listen.hop.transport == transport) {
        let item = section.item(reading, "transport");
        let (at, source) = item.map_or((section.at, ""), |item| (item.at, item.source));
        let word = transport.label();
        let hint = format!("{word} needs a [[listen]] with transport = \"{word}\": answers and calls come in there");
        reading.problem(at, &format!("{}.transport", section.path), source, hint);
    }
}
