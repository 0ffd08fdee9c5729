//! Calls in rtpengine, over its NG protocol: a cookie and a bencoded dictionary in one datagram.

use std::collections::BTreeMap;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use super::sip;

enum Value<'a> {
    Text(&'a str),
    List(&'a [&'a str]),
}

fn encoded(dictionary: &BTreeMap<&str, Value<'_>>) -> String {
    let text = |text: &str| format!("{}:{text}", text.len());
    let mut out = String::from("d");
    for (key, value) in dictionary {
        out += &text(key);
        match value {
            Value::Text(value) => out += &text(value),
            Value::List(values) => out.extend(["l", &values.iter().map(|value| text(value)).collect::<String>(), "e"]),
        }
    }
    out + "e"
}

pub(crate) struct Control {
    socket: UdpSocket,
    cookie: u32,
}

impl Control {
    pub(crate) fn new(at: SocketAddrV4) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(at).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        Self { socket, cookie: 0 }
    }

    fn ask(&mut self, dictionary: &BTreeMap<&str, Value<'_>>) -> String {
        self.cookie += 1;
        // rtpengine answers a cookie that it knows with its old answer.
        let request = format!("{}n{} {}", std::process::id(), self.cookie, encoded(dictionary));
        self.socket.send(request.as_bytes()).unwrap();
        let mut answer = vec![0; 65_536];
        let length = self.socket.recv(&mut answer).expect("an answer of rtpengine");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// One call between two audio addresses; the ports that the caller's and the callee's audio go to.
    pub(crate) fn call(&mut self, number: usize, caller: SocketAddrV4, callee: SocketAddrV4) -> [u16; 2] {
        let name = format!("load{number}");
        let mut ask = |command: &str, at: SocketAddrV4| {
            let description = sip::description(at);
            let mut dictionary = BTreeMap::from([
                ("command", Value::Text(command)),
                ("call-id", Value::Text(&name)),
                ("from-tag", Value::Text("caller")),
                ("sdp", Value::Text(&description)),
                ("ICE", Value::Text("remove")),
                ("flags", Value::List(&["trust-address"])),
                ("rtcp-mux", Value::List(&["demux"])),
            ]);
            if command == "answer" {
                dictionary.insert("to-tag", Value::Text("callee"));
            }
            let answer = self.ask(&dictionary);
            sip::audio_port(&answer).unwrap_or_else(|| panic!("rtpengine refuses: {answer}"))
        };
        let for_callee = ask("offer", caller);
        let for_caller = ask("answer", callee);
        [for_caller, for_callee]
    }
}
