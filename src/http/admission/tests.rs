use axum::http::HeaderValue;

use super::*;

fn admission(limits: &Limits) -> Arc<Admission> {
    Admission::new(limits, LimitMetrics::default())
}

fn nobody_exempt() -> Limits {
    Limits { exempt_networks: Vec::new(), ..Limits::default() }
}

fn forwarded_for(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    headers
}

fn caller(admission: &Admission, peer: &str, forwarded: &[&str]) -> Caller {
    let peer = SocketAddr::new(peer.parse().unwrap(), 1);
    admission.caller(peer, None, &forwarded_for(forwarded)).unwrap()
}

#[test]
fn a_burst_is_let_in_and_then_no_more_than_the_rate() {
    let limits = Limits {
        requests_per_second_per_address: 1,
        requests_burst_per_address: 3,
        ..nobody_exempt()
    };
    let admission = admission(&limits);
    let one = caller(&admission, "192.0.2.1", &[]);
    for _ in 0..3 {
        admission.admit_address(&one).unwrap();
    }
    for _ in 0..10 {
        let problem = admission.admit_address(&one).unwrap_err();
        // To ask again and again does not put it off.
        assert_eq!((problem.status, problem.retry_after_s), (429, Some(1)));
        assert!(problem.detail.contains("requests_per_second_per_address"), "{}", problem.detail);
    }
    admission.admit_address(&caller(&admission, "192.0.2.2", &[])).unwrap();
}

#[test]
fn accounts_are_counted_apart_from_addresses() {
    let limits = Limits {
        requests_per_second_per_account: 1,
        requests_burst_per_account: 2,
        ..Limits::default()
    };
    let admission = admission(&limits);
    admission.admit_account("one").unwrap();
    admission.admit_account("one").unwrap();
    let problem = admission.admit_account("one").unwrap_err();
    assert!(problem.detail.contains("requests_per_second_per_account"), "{}", problem.detail);
    admission.admit_account("two").unwrap();
}

#[test]
fn the_header_of_a_proxy_is_believed_and_of_nobody_else() {
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let with = |proxy_header| {
        let trusted_proxies = trusted_proxies.clone();
        admission(&Limits { trusted_proxies, proxy_header, ..nobody_exempt() })
    };
    let trusting = with(ProxyHeader::ForwardedFor);
    for (peer, forwarded, expected) in [
        ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
        ("fd00::1", &["192.0.2.1:4711"], "192.0.2.1"),
        ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        // The client's own claim stands before what the proxy added.
        ("10.0.0.1", &["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["198.51.100.1", "192.0.2.1"], "192.0.2.1"),
        // A chain of proxies.
        ("10.0.0.1", &["198.51.100.1, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &["198.51.100.1", "", "nonsense,, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["198.51.100.1, \u{80}", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["198.51.100.1, \u{fc}, 192.0.2.1 , [fd00::2]:443"], "192.0.2.1"),
        ("10.0.0.1", &["192.0.2.1", "[fd00::2]", "10.0.0.2:80"], "192.0.2.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("198.51.100.9", &["192.0.2.1"], "198.51.100.9"),
    ] {
        let seen = caller(&trusting, peer, forwarded).address.ip().to_string();
        assert_eq!(seen, expected, "{peer} {forwarded:?}");
    }
    let other = with(ProxyHeader::ProxyProtocol);
    assert_eq!(caller(&other, "10.0.0.1", &["192.0.2.1"]).address.ip().to_string(), "10.0.0.1");
    assert!(other.speaks_proxy_protocol("10.0.0.1".parse().unwrap()));
    assert!(other.speaks_proxy_protocol("::ffff:10.0.0.1".parse().unwrap()));
    assert!(!other.speaks_proxy_protocol("198.51.100.9".parse().unwrap()));
    assert!(!trusting.speaks_proxy_protocol("10.0.0.1".parse().unwrap()));
}

#[test]
fn what_a_proxy_writes_and_nobody_can_read_is_nobodys_request() {
    let limits = Limits {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        proxy_header: ProxyHeader::ForwardedFor,
        ..Limits::default()
    };
    let admission = admission(&limits);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let lines: [&[&[u8]]; 13] = [
        &[b""],
        &[b"\x80"],
        &[b"nonsense"],
        &[b"unknown"],
        &[b"192.0.2.1, "],
        &[b"192.0.2.1,,"],
        &[b"192.0.2.1\x80"],
        &[b"192.0.2.1, \xff"],
        &[b"192.0.2.1", b""],
        &[b"192.0.2.1", b"\xff"],
        &[b"192.0.2.1, nonsense, 127.0.0.2"],
        &[b"192.0.2.1, \xff", b"127.0.0.2"],
        &[b"[2001:db8::1"],
    ];
    for lines in lines {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        let refused = admission.caller(peer, None, &headers);
        assert_eq!(refused.unwrap_err(), UnreadableForwardedFor, "{headers:?}");
        // Of anybody else it says nothing.
        let other = SocketAddr::from(([192, 0, 2, 9], 1));
        assert_eq!(admission.caller(other, None, &headers).unwrap().address, other);
    }
}

#[test]
fn an_address_has_so_many_connections_and_an_exempt_one_any_number() {
    let admission = admission(&Limits { connections_per_address: 2, ..Limits::default() });
    let address = "2001:db8::1".parse().unwrap();
    let mut held: Vec<_> = (0..2).map(|_| admission.connect(address).unwrap()).collect();
    // Of one client, as all in these 64 bits.
    assert!(admission.connect("2001:db8::2".parse().unwrap()).is_none());
    held.push(admission.connect("2001:db8:0:1::1".parse().unwrap()).unwrap());
    held.extend((0..5).map(|_| admission.connect("127.0.0.1".parse().unwrap()).unwrap()));
    held.clear();
    assert!(admission.connections.lock().unwrap().is_empty());
    assert!(admission.connect(address).is_some());
}

#[test]
fn new_limits_hold_at_once_and_connections_stay_counted() {
    let admission = admission(&nobody_exempt());
    let address = "192.0.2.1".parse().unwrap();
    let _held = admission.connect(address).unwrap();
    let one = caller(&admission, "192.0.2.1", &[]);
    admission.admit_address(&one).unwrap();
    admission.reload(&Limits {
        connections_per_address: 1,
        requests_per_second_per_address: 1,
        requests_burst_per_address: 1,
        ..nobody_exempt()
    });
    assert!(admission.connect(address).is_none());
    admission.admit_address(&one).unwrap();
    admission.admit_address(&one).unwrap_err();
}

#[test]
fn a_flood_from_ever_new_addresses_is_forgotten_in_time() {
    let limits = Limits { requests_per_second_per_address: 1, ..nobody_exempt() };
    let admission = admission(&limits);
    for number in 0..300_000_u32 {
        let address = SocketAddr::new(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), 1);
        let one = Caller { address, local: None, exempt: false };
        admission.admit_address(&one).unwrap();
    }
    let rules = admission.rules.load();
    let remembered = rules.by_network.as_ref().unwrap().limiter.load().len();
    assert!(remembered <= MAX_KEYS + LOOK_EVERY as usize, "{remembered}");
}
