//! Golden lists of sending times, and what each machine must survive.

use std::time::{Duration, Instant};

use super::*;
use crate::io::clock;
use crate::sip::flow::{ConnectionId, Flow, Hop, Transport};
use crate::sip::wire::{Index, Limits, StatusCode};

const PEER: &str = "192.0.2.1:5060";

fn flow(peer: &str) -> Flow {
    Flow::datagram(0, peer.parse().unwrap())
}

/// The same way over a connection.
fn stream() -> Flow {
    Flow::connected(0, Hop { address: PEER.parse().unwrap(), transport: Transport::Tcp }, ConnectionId(1))
}

fn receive_over(table: &mut Transactions, text: &str, flow: Flow, now: Instant) -> Received {
    let mut index = Index::new();
    let message = index.read(text.as_bytes(), &Limits::default()).unwrap();
    table.receive(&message, Claim::Others, flow, now)
}

fn table() -> Transactions {
    Transactions::new(3, [7; 16], &TransactionSettings { capacity: 8 })
}

fn request(method: &str, branch: &str) -> String {
    let cseq = if method == "ACK" || method == "CANCEL" || method == "INVITE" { 1 } else { 2 };
    format!(
        "{method} sip:201@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@x>;tag=1\r\nTo: <sip:201@pbx>\r\nCall-ID: c@x\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn response(code: u16, branch: &str, method: &str) -> String {
    format!(
        "SIP/2.0 {code} Whatever\r\nVia: SIP/2.0/UDP 192.0.2.9;branch={branch}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:201@pbx>;tag=2\r\nCall-ID: c@x\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn receive(table: &mut Transactions, text: &str, peer: &str, now: Instant) -> Received {
    receive_over(table, text, flow(peer), now)
}

/// Runs to the end of all deadlines; gives the milliseconds at which something was sent, and the first word of each.
fn run(table: &mut Transactions, t0: Instant) -> Vec<(u128, String)> {
    let mut sent = Vec::new();
    drain(table, t0, t0, &mut sent);
    while let Some(at) = table.poll_timeout() {
        table.handle_timeout(at);
        drain(table, t0, at, &mut sent);
        assert!(at < t0 + Duration::from_secs(600), "a deadline does not end");
    }
    sent
}

fn drain(table: &mut Transactions, t0: Instant, now: Instant, sent: &mut Vec<(u128, String)>) {
    while let Some(transmit) = table.poll_transmit() {
        let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
        let words: Vec<&str> = text.split(' ').take(2).collect();
        let word = if words[0] == "SIP/2.0" { words[1] } else { words[0] };
        sent.push((now.duration_since(t0).as_millis(), word.to_owned()));
    }
}

fn events(table: &mut Transactions) -> Vec<TransactionEvent> {
    std::iter::from_fn(|| table.poll_event()).collect()
}

fn times(sent: &[(u128, String)], word: &str) -> Vec<u128> {
    sent.iter().filter(|(_, w)| w == word).map(|(at, _)| *at).collect()
}

fn send(table: &mut Transactions, kind: ClientKind, t0: Instant) -> (ClientId, String) {
    send_over(table, kind, flow(PEER), t0)
}

fn send_over(table: &mut Transactions, kind: ClientKind, flow: Flow, t0: Instant) -> (ClientId, String) {
    let (id, branch) = table.reserve(kind).unwrap();
    let method = match kind {
        ClientKind::Invite => "INVITE",
        ClientKind::NonInvite => "OPTIONS",
    };
    table.send(id, request(method, &branch).as_bytes(), flow, t0);
    (id, branch)
}

#[test]
fn an_invite_is_repeated_by_timer_a_until_timer_b() {
    let (mut table, t0) = (table(), clock::now());

    let (id, _) = send(&mut table, ClientKind::Invite, t0);
    let sent = run(&mut table, t0);

    assert_eq!(times(&sent, "INVITE"), [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(events(&mut table), [TransactionEvent::ClientTimeout(id), TransactionEvent::ClientEnded(id)]);
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn another_request_is_repeated_by_timer_e_until_timer_f() {
    let (mut table, t0) = (table(), clock::now());

    send(&mut table, ClientKind::NonInvite, t0);
    let sent = run(&mut table, t0);

    assert_eq!(times(&sent, "OPTIONS"), [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn busy_is_repeated_until_timer_h() {
    let (mut table, t0) = (table(), clock::now());
    let invite = request("INVITE", "z9hG4bKa");
    let Received::Request(id) = receive(&mut table, &invite, PEER, t0) else { panic!("not new") };

    table.respond(id, StatusCode::BUSY_HERE, response(486, "z9hG4bKa", "INVITE").as_bytes(), t0);
    let sent = run(&mut table, t0);

    assert_eq!(times(&sent, "486"), [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(events(&mut table), [TransactionEvent::ServerEnded(id)]);
}

#[test]
fn an_ack_ends_the_repetition_and_is_absorbed() {
    let (mut table, t0) = (table(), clock::now());
    let Received::Request(id) = receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0) else {
        panic!("not new")
    };
    table.respond(id, StatusCode::BUSY_HERE, response(486, "z9hG4bKa", "INVITE").as_bytes(), t0);

    let ack = receive(&mut table, &request("ACK", "z9hG4bKa"), PEER, t0);
    let sent = run(&mut table, t0);

    assert_eq!(ack, Received::Absorbed);
    assert_eq!(times(&sent, "486"), [0]);
    assert_eq!(events(&mut table), [TransactionEvent::ServerEnded(id)]);
}

#[test]
fn an_unanswered_invite_gets_100_after_200_ms_and_again_when_repeated() {
    let (mut table, t0) = (table(), clock::now());
    receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0);

    let mut sent = run(&mut table, t0);
    let repeated = receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0 + Duration::from_millis(500));
    drain(&mut table, t0, t0 + Duration::from_millis(500), &mut sent);

    assert_eq!(repeated, Received::Absorbed);
    assert_eq!(times(&sent, "100"), [200, 500]);
}

#[test]
fn a_stranger_who_repeats_a_request_learns_nothing() {
    let (mut table, t0) = (table(), clock::now());
    let Received::Request(id) = receive(&mut table, &request("OPTIONS", "z9hG4bKa"), PEER, t0) else {
        panic!("not new")
    };
    table.respond(id, StatusCode::OK, response(200, "z9hG4bKa", "OPTIONS").as_bytes(), t0);
    drain(&mut table, t0, t0, &mut Vec::new());

    let answer = receive(&mut table, &request("OPTIONS", "z9hG4bKa"), "198.51.100.7:5060", t0);

    assert_eq!(answer, Received::Absorbed);
    assert_eq!(table.poll_transmit(), None);
}

#[test]
fn a_2xx_lingers_until_timer_l_and_its_ack_is_the_dialogs() {
    let (mut table, t0) = (table(), clock::now());
    let Received::Request(id) = receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0) else {
        panic!("not new")
    };
    table.respond(id, StatusCode::OK, response(200, "z9hG4bKa", "INVITE").as_bytes(), t0);

    assert_eq!(receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0), Received::Absorbed);
    assert_eq!(receive(&mut table, &request("ACK", "z9hG4bKa"), PEER, t0), Received::AckToSuccess);
    assert_eq!(receive(&mut table, &request("ACK", "z9hG4bKother"), PEER, t0), Received::AckToSuccess);
    assert_eq!(table.poll_timeout(), Some(t0 + Duration::from_secs(32)));
    run(&mut table, t0);
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn a_cancel_waits_for_the_first_1xx() {
    let (mut table, t0) = (table(), clock::now());
    let (id, branch) = send(&mut table, ClientKind::Invite, t0);
    let mut sent = Vec::new();

    table.cancel(id, &["Reason: SIP;cause=487"], t0);
    drain(&mut table, t0, t0, &mut sent);
    assert_eq!(times(&sent, "CANCEL"), [0_u128; 0]);

    assert_eq!(receive(&mut table, &response(180, &branch, "INVITE"), PEER, t0), Received::Response(id));
    drain(&mut table, t0, t0, &mut sent);
    assert_eq!(times(&sent, "CANCEL"), [0]);

    assert_eq!(receive(&mut table, &response(200, &branch, "CANCEL"), PEER, t0), Received::Absorbed);
    assert_eq!(receive(&mut table, &response(487, &branch, "INVITE"), PEER, t0), Received::Response(id));
    let rest = run(&mut table, t0);
    assert_eq!(times(&rest, "ACK"), [0]);
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn a_cancelled_invite_without_a_final_answer_times_out() {
    let (mut table, t0) = (table(), clock::now());
    let (id, branch) = send(&mut table, ClientKind::Invite, t0);
    receive(&mut table, &response(180, &branch, "INVITE"), PEER, t0);

    table.cancel(id, &[], t0);
    let sent = run(&mut table, t0);

    assert_eq!(times(&sent, "CANCEL").len(), 11);
    assert_eq!(events(&mut table), [TransactionEvent::ClientTimeout(id), TransactionEvent::ClientEnded(id)]);
}

#[test]
fn each_cancel_is_answered_and_reaches_a_waiting_invite() {
    let (mut table, t0) = (table(), clock::now());
    let Received::Request(invite) = receive(&mut table, &request("INVITE", "z9hG4bKa"), PEER, t0) else {
        panic!("not new")
    };

    let first = receive(&mut table, &request("CANCEL", "z9hG4bKa"), PEER, t0);
    let second = receive(&mut table, &request("CANCEL", "z9hG4bKa"), PEER, t0);
    let lost = receive(&mut table, &request("CANCEL", "z9hG4bKnone"), PEER, t0);
    let mut sent = Vec::new();
    drain(&mut table, t0, t0, &mut sent);

    assert_eq!(first, Received::Cancel { invite: Some(invite) });
    assert_eq!(second, Received::Absorbed);
    assert_eq!(lost, Received::Cancel { invite: None });
    assert_eq!((times(&sent, "200"), times(&sent, "481")), (vec![0, 0], vec![0]));
}

#[test]
fn a_failure_is_acknowledged_each_time() {
    let (mut table, t0) = (table(), clock::now());
    let (id, branch) = send(&mut table, ClientKind::Invite, t0);

    assert_eq!(receive(&mut table, &response(486, &branch, "INVITE"), PEER, t0), Received::Response(id));
    assert_eq!(receive(&mut table, &response(486, &branch, "INVITE"), PEER, t0), Received::Absorbed);
    let sent = run(&mut table, t0);

    assert_eq!(times(&sent, "ACK"), [0, 0]);
}

#[test]
fn forged_and_stale_branches_die_without_state() {
    let (mut table, t0) = (table(), clock::now());
    let (id, branch) = send(&mut table, ClientKind::Invite, t0);
    let forged = format!("{}0", &branch[..branch.len() - 1]);
    let forged = if forged == branch { format!("{}1", &branch[..branch.len() - 1]) } else { forged };

    assert_eq!(receive(&mut table, &response(200, &forged, "INVITE"), PEER, t0), Received::Absorbed);
    assert_eq!(receive(&mut table, &response(200, &branch, "INVITE"), "198.51.100.7:5060", t0), Received::Absorbed);
    table.release(id);
    assert_eq!(receive(&mut table, &response(200, &branch, "INVITE"), PEER, t0), Received::Absorbed);
    let (_, next) = send(&mut table, ClientKind::Invite, t0);
    assert_ne!(branch, next, "a slot used again must have another branch");
}

#[test]
fn over_a_connection_nothing_is_repeated() {
    let (mut table, t0) = (table(), clock::now());
    let (invite, invite_branch) = send_over(&mut table, ClientKind::Invite, stream(), t0);
    let (other, _) = send_over(&mut table, ClientKind::NonInvite, stream(), t0);
    receive_over(&mut table, &request("INVITE", "z9hG4bKa"), stream(), t0);

    receive_over(&mut table, &response(180, &invite_branch, "INVITE"), stream(), t0);
    table.cancel(invite, &[], t0);
    let Received::Request(busy) = receive_over(&mut table, &request("INVITE", "z9hG4bKb"), stream(), t0) else {
        panic!("not new")
    };
    table.respond(busy, StatusCode::BUSY_HERE, response(486, "z9hG4bKb", "INVITE").as_bytes(), t0);
    let sent = run(&mut table, t0);

    for word in ["INVITE", "OPTIONS", "CANCEL", "486"] {
        assert_eq!(times(&sent, word), [0], "{word}");
    }
    let ended = events(&mut table);
    for event in [
        TransactionEvent::ClientTimeout(other),
        TransactionEvent::ClientTimeout(invite),
        TransactionEvent::ServerEnded(busy),
    ] {
        assert!(ended.contains(&event), "timers B, F and H are in force: {ended:?}");
    }
}

#[test]
fn over_a_connection_nothing_lingers() {
    let (mut table, t0) = (table(), clock::now());
    let (_, branch) = send_over(&mut table, ClientKind::NonInvite, stream(), t0);
    let (_, invite_branch) = send_over(&mut table, ClientKind::Invite, stream(), t0);
    let Received::Request(options) = receive_over(&mut table, &request("OPTIONS", "z9hG4bKa"), stream(), t0) else {
        panic!("not new")
    };
    let Received::Request(busy) = receive_over(&mut table, &request("INVITE", "z9hG4bKb"), stream(), t0) else {
        panic!("not new")
    };

    receive_over(&mut table, &response(200, &branch, "OPTIONS"), stream(), t0);
    receive_over(&mut table, &response(486, &invite_branch, "INVITE"), stream(), t0);
    table.respond(options, StatusCode::OK, response(200, "z9hG4bKa", "OPTIONS").as_bytes(), t0);
    table.respond(busy, StatusCode::BUSY_HERE, response(486, "z9hG4bKb", "INVITE").as_bytes(), t0);
    receive_over(&mut table, &request("ACK", "z9hG4bKb"), stream(), t0);
    table.handle_timeout(t0);

    assert_eq!(table.counts(), (0, 0), "timers D, I, J and K are zero");
}

#[test]
fn a_request_that_did_not_leave_is_over_and_an_answer_is_not_missed() {
    let (mut table, t0) = (table(), clock::now());
    let (id, branch) = send_over(&mut table, ClientKind::Invite, stream(), t0);
    let invite = request("INVITE", &branch);

    table.unsent(response(200, &branch, "INVITE").as_bytes(), t0);
    table.unsent(request("ACK", &branch).as_bytes(), t0);
    assert_eq!(events(&mut table), []);
    table.unsent(invite.as_bytes(), t0);
    table.unsent(invite.as_bytes(), t0);

    assert_eq!(events(&mut table), [TransactionEvent::ClientUnsent(id), TransactionEvent::ClientEnded(id)]);
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn what_has_left_on_a_connection_that_ends_goes_once_more() {
    let (mut table, t0) = (table(), clock::now());
    for kind in [ClientKind::Invite, ClientKind::NonInvite] {
        send_over(&mut table, kind, stream(), t0);
    }
    let (_, unsent) = send_over(&mut table, ClientKind::NonInvite, stream(), t0);
    let (_, ringing) = send_over(&mut table, ClientKind::Invite, stream(), t0);
    receive_over(&mut table, &response(180, &ringing, "INVITE"), stream(), t0);
    assert_eq!(table.waiting(), 4);
    let mut sent = Vec::new();
    let mut sends = |table: &mut Transactions| {
        table.handle_timeout(t0);
        sent.clear();
        drain(table, t0, t0, &mut sent);
        sent.iter().map(|(_, word)| word.clone()).collect::<Vec<_>>()
    };
    assert_eq!(sends(&mut table).len(), 4);

    table.lost_way(Hop { transport: Transport::Tls, ..stream().hop() }, t0);
    assert_eq!(sends(&mut table), [""; 0], "another one's");
    table.lost_way(stream().hop(), t0);
    table.unsent(request("OPTIONS", &unsent).as_bytes(), t0);
    assert_eq!(sends(&mut table), ["INVITE", "OPTIONS"]);
    table.lost_way(stream().hop(), t0);

    assert_eq!(run(&mut table, t0), [], "once more, and no oftener");
    assert_eq!(table.counts(), (0, 0));
}

#[test]
fn what_a_connection_does_not_take_goes_as_a_datagram() {
    // Told at once, after a while, and when a response has come in time.
    for (told, answered) in [(true, false), (false, false), (false, true)] {
        let (mut table, t0) = (table(), clock::now());
        let (id, branch) = table.reserve(ClientKind::Invite).unwrap();
        let (large, small) = (request("INVITE", &branch).replace("UDP", "TCP"), request("INVITE", &branch));
        table.send_or(id, (large.as_bytes(), stream()), (small.as_bytes(), flow(PEER)), t0);
        if told {
            table.unsent(large.as_bytes(), t0);
        }
        if answered {
            receive_over(&mut table, &response(100, &branch, "INVITE"), stream(), t0);
        }
        let later = t0 + Duration::from_secs(3);
        table.handle_timeout(later);
        // The connection may be given up behind it.
        if !answered {
            table.unsent(large.as_bytes(), later);
        }

        let sent: Vec<_> = std::iter::from_fn(|| table.poll_transmit()).collect();
        assert_eq!(sent[0].flow, stream());
        assert_eq!(sent[0].bytes[..], *large.as_bytes());
        if answered {
            assert_eq!((sent.len(), events(&mut table).len()), (1, 0));
        } else {
            assert!(sent[1..].iter().all(|sent| sent.flow == flow(PEER) && sent.bytes[..] == *small.as_bytes()));
            assert!(sent.len() > 1);
            assert_eq!(events(&mut table), [TransactionEvent::FellBack(id)]);
        }
        receive(&mut table, &response(486, &branch, "INVITE"), PEER, later);
        run(&mut table, later);
        assert_eq!(table.counts(), (0, 0));
    }
}

#[test]
fn a_full_table_says_so_and_empties_again() {
    let (mut table, t0) = (table(), clock::now());
    for number in 0..8 {
        let new = receive(&mut table, &request("OPTIONS", &format!("z9hG4bK{number}")), PEER, t0);
        assert!(matches!(new, Received::Request(_)));
    }

    assert_eq!(receive(&mut table, &request("OPTIONS", "z9hG4bK9"), PEER, t0), Received::Full);
    run(&mut table, t0);
    assert_eq!(table.counts(), (0, 0));
    assert!(matches!(receive(&mut table, &request("OPTIONS", "z9hG4bK9"), PEER, t0), Received::Request(_)));
}

/// So many new requests of `peer`, each of its own; how many had room.
fn flood(table: &mut Transactions, method: &str, peer: &str, claim: Claim, count: usize, now: Instant) -> usize {
    let begin = |number: &usize| {
        let text = request(method, &format!("z9hG4bK{peer}{method}{number}{claim:?}").replace([':', '.'], "x"));
        let text = text.replace("To: <sip:201@pbx>", "To: <sip:201@pbx>;tag=2");
        let mut index = Index::new();
        let message = index.read(text.as_bytes(), &Limits::default()).unwrap();
        matches!(table.receive(&message, claim, flow(peer), now), Received::Request(_))
    };
    (0..count).filter(begin).count()
}

#[test]
fn a_peer_that_floods_leaves_room_for_others_and_for_what_is_of_a_call() {
    let mut table = Transactions::new(3, [7; 16], &TransactionSettings { capacity: 1_000 });
    let t0 = clock::now();

    assert_eq!(flood(&mut table, "OPTIONS", "192.0.2.1:5060", Claim::Others, 5_000, t0), 751);
    assert_eq!(flood(&mut table, "OPTIONS", "192.0.2.2:5060", Claim::Others, 5_000, t0), 150);
    assert_eq!(flood(&mut table, "OPTIONS", "192.0.2.3:5060", Claim::Others, 10, t0), 10);
    assert_eq!(flood(&mut table, "BYE", "192.0.2.1:5060", Claim::Others, 10, t0), 0, "a tag that anyone can invent");
    assert_eq!(flood(&mut table, "BYE", "192.0.2.1:5060", Claim::OfCall, 10, t0), 10);
    assert_eq!(flood(&mut table, "OPTIONS", "192.0.2.1:5060", Claim::OfCall, 10, t0), 10);
    assert_eq!(flood(&mut table, "INFO", "192.0.2.9:5060", Claim::OfBusyCall, 10, t0), 0);

    run(&mut table, t0);
    assert_eq!(table.counts(), (0, 0));
    assert_eq!(
        flood(&mut table, "OPTIONS", "192.0.2.1:5060", Claim::Others, 5_000, t0),
        751,
        "what has ended counts no more"
    );
}

#[test]
fn what_comes_in_a_peers_name_takes_nothing_of_the_share_of_its_connections() {
    let mut table = Transactions::new(3, [7; 16], &TransactionSettings { capacity: 1_000 });
    let t0 = clock::now();
    assert_eq!(flood(&mut table, "OPTIONS", PEER, Claim::Others, 5_000, t0), 751);

    let had_room = |number: &usize| {
        let new = receive_over(&mut table, &request("OPTIONS", &format!("z9hG4bKs{number}")), stream(), t0);
        matches!(new, Received::Request(_))
    };
    assert_eq!((0..5_000).filter(had_room).count(), 150, "as another peer");

    run(&mut table, t0);
    assert_eq!(table.counts(), (0, 0));
}

/// Whoever forges addresses of a network that is a trunk's.
#[test]
fn a_flood_from_many_addresses_leaves_room_for_our_own_side_and_for_what_is_of_a_call() {
    let mut table = Transactions::new(3, [7; 16], &TransactionSettings { capacity: 1_000 });
    let t0 = clock::now();

    let forged: usize = (0..250)
        .map(|host| flood(&mut table, "OPTIONS", &format!("203.0.113.{host}:5060"), Claim::Others, 64, t0))
        .sum();

    assert_eq!(forged, 938);
    assert_eq!(flood(&mut table, "INVITE", PEER, Claim::Ours, 64, t0), 31);
    assert_eq!(flood(&mut table, "BYE", PEER, Claim::OfCall, 64, t0), 31);
}
