//! The real binary between a door station with a camera and a telephone behind the PBX: talk and pictures both ways.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod firewall;
mod plain_sip;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use firewall::Firewall;
use plain_sip::{PATIENCE, answer, header, receive, request, socket};

const NOT_COMING: Duration = Duration::from_millis(100);

/// One port pair of a telephone, and the firewall's for it.
struct Stream {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    relay: SocketAddr,
    kind: u8,
}

impl Stream {
    fn new(ip: &str, kind: u8) -> Self {
        // The port above may be in use: another pair, then.
        let pair = (0..100).find_map(|_| {
            let rtp = UdpSocket::bind((ip, 0)).unwrap();
            let above = rtp.local_addr().unwrap().port().checked_add(1)?;
            Some((rtp, UdpSocket::bind((ip, above)).ok()?))
        });
        let (rtp, rtcp) = pair.unwrap();
        for socket in [&rtp, &rtcp] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { rtp, rtcp, relay: ([0, 0, 0, 0], 0).into(), kind }
    }

    fn port(&self) -> u16 {
        self.rtp.local_addr().unwrap().port()
    }

    fn packet(&self, n: u16, size: usize) -> Vec<u8> {
        let [high, low] = n.to_be_bytes();
        let [a, b] = self.port().to_be_bytes();
        let head = [0x80, self.kind, high, low, 0, 0, high, low, 1, self.kind, a, b];
        [head.as_slice(), &vec![low; size]].concat()
    }

    fn report(&self) -> Vec<u8> {
        let [a, b] = self.port().to_be_bytes();
        vec![0x80, 201, 0, 1, 1, self.kind, a, b]
    }

    fn hears_nothing(&self) -> bool {
        self.rtp.set_read_timeout(Some(NOT_COMING)).unwrap();
        let nothing = self.rtp.recv(&mut [0; 2_048]).is_err();
        self.rtp.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }
}

/// Media and reports from one to the other.
fn flows(from: &Stream, to: &Stream, size: usize) {
    let arrives = |socket: &UdpSocket, sent: Vec<u8>, at: u16| {
        let mut buffer = [0; 2_048];
        let (length, source) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], source), (&sent[..], SocketAddr::new(to.relay.ip(), at)));
    };
    for n in 0..20 {
        from.rtp.send_to(&from.packet(n, size), from.relay).unwrap();
        arrives(&to.rtp, from.packet(n, size), to.relay.port());
    }
    let above = SocketAddr::new(from.relay.ip(), from.relay.port() + 1);
    from.rtcp.send_to(&from.report(), above).unwrap();
    arrives(&to.rtcp, from.report(), to.relay.port() + 1);
}

struct Peer {
    sip: UdpSocket,
    audio: Stream,
    video: Stream,
}

impl Peer {
    fn new(ip: &str) -> Self {
        Self { sip: socket(ip), audio: Stream::new(ip, 0), video: Stream::new(ip, 99) }
    }

    fn here(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    fn describes(&self, shows: bool) -> String {
        let (ip, audio) = (self.here().ip(), self.audio.port());
        let video = if shows { self.video.port() } else { 0 };
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {audio} RTP/AVP 0\r\n\
             m=video {video} RTP/AVPF 99\r\na=rtpmap:99 H264/90000\r\na=rtcp-fb:99 nack pli\r\n"
        )
    }

    fn receive(&self, start: &str) -> String {
        receive(&self.sip, start)
    }

    fn send(&self, text: &str, to: SocketAddr) {
        self.sip.send_to(text.as_bytes(), to).unwrap();
    }

    /// Takes from a description where its streams go; the video's port.
    fn learns(&mut self, message: &str) -> u16 {
        let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        let port = |start: &str| line(start).split(' ').next().unwrap().parse::<u16>().unwrap();
        let ip = line("c=IN IP4 ").parse().unwrap();
        self.audio.relay = SocketAddr::new(ip, port("m=audio "));
        let video = port("m=video ");
        if video > 0 {
            self.video.relay = SocketAddr::new(ip, video);
        }
        video
    }

    /// A request of the caller.
    fn request(&self, firewall: &Firewall, (method, cseq): (&str, u32), to: &str, body: &str) -> String {
        request(self.here(), (method, cseq), (&format!("sip:201@{}", firewall.sip), to), body)
    }
}

/// An INVITE of the caller, the first or a further one, and its answer; what the caller heard, and both ports of video.
fn invites(
    firewall: &Firewall,
    (caller, callee): (&mut Peer, &mut Peer),
    (cseq, to): (u32, &str),
    [offered, answered]: [bool; 2],
) -> (String, [u16; 2]) {
    let invite = caller.request(firewall, ("INVITE", cseq), to, &caller.describes(offered));
    caller.send(&invite, firewall.sip);
    let request = callee.receive("INVITE ");
    let towards_callee = callee.learns(&request);
    callee.send(&answer(&request, "200 OK", "p", callee.here(), &callee.describes(answered)), firewall.sip);
    let ok = caller.receive("SIP/2.0 200");
    let towards_caller = caller.learns(&ok);
    let to = header(&ok, "To").to_owned();
    caller.send(&caller.request(firewall, ("ACK", cseq), &to, ""), firewall.sip);
    (to, [towards_caller, towards_callee])
}

#[test]
fn talk_and_pictures_flow_both_ways_until_the_pictures_are_taken_away() {
    let (mut caller, mut callee) = (Peer::new("127.0.2.51"), Peer::new("127.0.0.51"));
    let firewall = Firewall::start(callee.here(), "[detect.words]\nenabled = false");
    let first = format!("<sip:201@{}>", firewall.sip);
    let sockets = |count: u64| {
        firewall.until("sockets", |firewall| firewall.metric("table_entries{table=\"media_sockets\"}") == count)
    };

    // Without pictures first: four sockets, and a refused section stays refused.
    let (to, ports) = invites(&firewall, (&mut caller, &mut callee), (1, &first), [false, false]);
    assert_eq!(ports, [0, 0]);
    flows(&caller.audio, &callee.audio, 160);
    sockets(4);

    let (_, ports) = invites(&firewall, (&mut caller, &mut callee), (2, &to), [true, true]);
    let ours = |port: &u16| (31_000..32_000).contains(port) && port.is_multiple_of(2);
    assert!(ports.iter().all(ours) && ports[0] != ports[1], "{ports:?}");
    sockets(8);
    for _ in 0..2 {
        flows(&caller.audio, &callee.audio, 160);
        flows(&callee.audio, &caller.audio, 160);
        flows(&caller.video, &callee.video, 1_300);
        flows(&callee.video, &caller.video, 1_300);
    }
    // Not by whoever finds the port.
    let stranger = Stream::new("127.0.0.66", 99);
    stranger.rtp.send_to(&caller.video.packet(21, 100), caller.video.relay).unwrap();
    assert!(callee.video.hears_nothing() && stranger.hears_nothing());

    let (_, ports) = invites(&firewall, (&mut caller, &mut callee), (3, &to), [false, false]);
    assert_eq!(ports, [0, 0]);
    caller.video.rtp.send_to(&caller.video.packet(22, 100), caller.video.relay).unwrap();
    assert!(callee.video.hears_nothing());
    flows(&callee.audio, &caller.audio, 160);

    caller.send(&caller.request(&firewall, ("BYE", 4), &to, ""), firewall.sip);
    let bye = callee.receive("BYE ");
    callee.send(&answer(&bye, "200 OK", "p", callee.here(), ""), firewall.sip);
    caller.receive("SIP/2.0 200");
    firewall.until("the call is over", |firewall| firewall.metric("table_entries{table=\"media_calls\"}") == 0);
}

#[test]
fn where_ports_run_out_the_pictures_alone_are_refused() {
    let (mut caller, mut callee) = (Peer::new("127.0.2.52"), Peer::new("127.0.0.52"));
    let _taken = [32_104, 32_106].map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap());
    let settings = Firewall::settings(callee.here(), "[detect.words]\nenabled = false");
    let firewall = Firewall::start_as(&settings.replace("31000-31999", "32100-32107"));
    let first = format!("<sip:201@{}>", firewall.sip);

    let (_, ports) = invites(&firewall, (&mut caller, &mut callee), (1, &first), [true, false]);

    assert_eq!(ports, [0, 0]);
    flows(&caller.audio, &callee.audio, 160);
    flows(&callee.audio, &caller.audio, 160);
}

#[test]
fn pictures_go_on_after_a_kill() {
    let (mut caller, mut callee) = (Peer::new("127.0.2.53"), Peer::new("127.0.0.53"));
    let mut firewall = Firewall::start_on("127.0.0.54", callee.here(), "[detect.words]\nenabled = false");
    let first = format!("<sip:201@{}>", firewall.sip);
    let (_, ports) = invites(&firewall, (&mut caller, &mut callee), (1, &first), [true, true]);
    assert!(ports.iter().all(|port| *port > 0), "{ports:?}");
    flows(&caller.video, &callee.video, 1_300);
    firewall.until("the call in the journal", |firewall| firewall.metric("journal_calls") == 1);

    firewall.kill();
    let firewall = firewall.start_again();

    firewall.until("it is there again", |firewall| firewall.metric("table_entries{table=\"media_sockets\"}") == 8);
    flows(&caller.video, &callee.video, 1_300);
    flows(&callee.video, &caller.video, 1_300);
    flows(&caller.audio, &callee.audio, 160);
}
