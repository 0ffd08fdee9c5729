//! `[[listen]]`, and what is common to all who are spoken to over it: transports, certificates.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::certificates::{BadTls, ClientIdentity, Identity, Roots};
use super::file::Files;
use super::section::{Item, Reading, Section};
use super::settings::ListenSettings;
use crate::sip::flow::{Hop, Transport};

/// Without `[[listen]]`: every address, the SIP port.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5_060);

// What problems say.
const CERTIFICATE: &str = "the file with the certificate chain that peers are shown";
const KEY: &str = "the file with the certificate's private key";
const PEM: &str = "must be the path of a PEM file";
const FOR_TLS: &str = "is of use with transport = \"tls\" only";

const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

pub(super) fn listen<'t>(
    root: &mut Section<'_, 't>,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Vec<ListenSettings> {
    let mut listen: Vec<ListenSettings> = Vec::new();
    for mut section in root.sections(reading, "listen") {
        let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
        let identity = identity(&mut section, transport, files, reading);
        let (what, hint) = ("where SIP is listened to", "must be an address with a port, as \"0.0.0.0:5060\"");
        let address = section.required(reading, "address", what, hint, |text| text.parse::<SocketAddr>().ok());
        // Where the address is bad, the transport is there all the same. No two of port 0 clash.
        let hop = Hop { address: address.unwrap_or(SocketAddr::new(LISTEN.ip(), 0)), transport };
        if let Some(other) = listen.iter().find(|other| clash(other.hop, hop)) {
            let path = format!("{}.address", section.path);
            let same = other.hop == hop;
            let hint = if same { "is there twice".to_owned() } else { both(hop.address, other.hop) };
            reading.problem(section.at, &path, "", hint);
        }
        listen.push(ListenSettings { hop, identity });
        section.finish(reading);
    }
    if listen.is_empty() {
        for (key, value) in [("address", &*LISTEN.to_string()), ("transport", "udp"), ("certificate", ""), ("key", "")]
        {
            reading.options.insert(format!("listen[0].{key}"), value.to_owned());
        }
        listen.push(ListenSettings { hop: Hop::udp(LISTEN), identity: None });
    }
    listen
}

/// Would the system refuse the second of them? Sockets of IPv6 take no IPv4.
fn clash(one: Hop, other: Hop) -> bool {
    (one.transport == Transport::Udp) == (other.transport == Transport::Udp) && overlap(one.address, other.address)
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip(), other.ip());
    let reached = ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && reached
}

fn both(address: SocketAddr, other: Hop) -> String {
    let Hop { address: theirs, transport } = other;
    format!("{address} cannot be listened on beside {} {theirs}: both take the same port", transport.label())
}

/// What listens on the API's address, which is one of TCP.
pub(super) fn beside_api(listen: &[ListenSettings], api: SocketAddr) -> Option<String> {
    let streams = listen.iter().map(|listen| listen.hop).filter(|hop| hop.transport != Transport::Udp);
    streams.into_iter().find(|hop| overlap(hop.address, api)).map(|hop| both(api, hop))
}

/// Certificate and key of a listener: both, where it is TLS, and neither elsewhere.
fn identity<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Option<Identity> {
    if transport == Transport::Tls && !section.has("certificate") && !section.has("key") {
        section.missing(reading, "certificate", CERTIFICATE);
        section.missing(reading, "key", KEY);
    }
    pair(section, transport, files, reading, Identity::from_pem)
}

/// What a next hop is shown that asks who we are: none need be there.
pub(super) fn client_identity<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Option<ClientIdentity> {
    pair(section, transport, files, reading, ClientIdentity::from_pem)
}

/// Certificate and key, both or neither, and only where it is TLS.
fn pair<'t, T>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: &dyn Files,
    reading: &mut Reading<'t>,
    from_pem: impl Fn(&str, &str) -> Result<T, BadTls>,
) -> Option<T> {
    let before = reading.problems.len();
    let certificate = pem(section, "certificate", files, reading);
    let mut open = None;
    let key = section.file(reading, "key", PEM, |path| {
        open = files.secret(path).err();
        files.text(path).map_err(|error| format!("cannot be read: {error}"))
    });
    if reading.problems.len() > before {
        return None;
    }
    match (transport, certificate, key) {
        (Transport::Tls, Some((at_certificate, certificate)), Some((at_key, key))) => {
            let bad = match from_pem(&certificate, &key) {
                Ok(pair) => {
                    // No reason to stay away from the telephone: where it lies has been good enough so far.
                    reading.doubted.extend(open.map(|why| format!("{} {why}", at_key.path)));
                    return Some(pair);
                }
                Err(bad) => bad,
            };
            let item = if bad == BadTls::NoCertificate { at_certificate } else { at_key };
            reading.problem(item.at, &item.path, item.source, bad.to_string());
        }
        (Transport::Tls, Some(_), None) => section.missing(reading, "key", KEY),
        (Transport::Tls, None, Some(_)) => section.missing(reading, "certificate", CERTIFICATE),
        (Transport::Tls, None, None) => {}
        (Transport::Udp | Transport::Tcp, certificate, key) => {
            for (item, _) in certificate.into_iter().chain(key) {
                reading.problem(item.at, &item.path, item.source, FOR_TLS);
            }
        }
    }
    None
}

/// Whom we believe about a peer's certificate; None: the system's own.
pub(super) fn roots<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Option<Roots> {
    let (item, text) = pem(section, "ca", files, reading)?;
    if transport != Transport::Tls {
        reading.problem(item.at, &item.path, item.source, FOR_TLS);
        return None;
    }
    Roots::from_pem(&text).map_err(|bad| reading.problem(item.at, &item.path, item.source, bad.to_string())).ok()
}

fn pem<'a, 't>(
    section: &mut Section<'a, 't>,
    key: &'static str,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Option<(Item<'a, 't>, String)> {
    let read = |path: &str| files.text(path).map_err(|error| format!("cannot be read: {error}"));
    section.file(reading, key, PEM, read)
}

/// How a next hop is reached: only over what we listen on, because it must be able to reach us.
pub(super) fn transport<'t>(
    section: &mut Section<'_, 't>,
    listen: &[ListenSettings],
    reading: &mut Reading<'t>,
) -> Transport {
    let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
    must_be_listened(section, transport, listen, reading);
    transport
}

pub(super) fn must_be_listened<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    listen: &[ListenSettings],
    reading: &mut Reading<'t>,
) {
    // Which one a misspelt transport was meant to be, nobody knows.
    let unknown = |path: &str| path.starts_with("listen[") && path.ends_with("].transport");
    let unknown = reading.problems.iter().any(|problem| unknown(&problem.path));
    if !unknown && !listen.iter().any(|listen| listen.hop.transport == transport) {
        let item = section.item(reading, "transport");
        let (at, source) = item.map_or((section.at, ""), |item| (item.at, item.source));
        let word = transport.label();
        let hint = format!("{word} needs a [[listen]] with transport = \"{word}\": answers and calls come in there");
        reading.problem(at, &format!("{}.transport", section.path), source, hint);
    }
}
